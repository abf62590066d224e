/* A service: says its label and its argument, says when it is told to reload, and waits. With the argument "stubborn"
 * it doesn't end when it is asked to. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#ifdef WITH_LIBRARY
const char *keeltest_version(void);
#define VERSION keeltest_version()
#else
#define VERSION LABEL
#endif

static void reloaded(int signal) {
    (void)signal;
    static const char text[] = "reloaded\n";
    if (write(1, text, sizeof text - 1) < 0) _exit(1);
}

int main(int count, char **words) {
    struct sigaction action = { .sa_handler = reloaded, .sa_flags = SA_RESTART };
    sigaction(SIGHUP, &action, NULL);
    if (count > 1 && strcmp(words[1], "stubborn") == 0) signal(SIGTERM, SIG_IGN);
    printf("%s %s\n", VERSION, count > 1 ? words[1] : "");
    fflush(stdout);
    for (;;) pause();
}
