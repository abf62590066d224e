/*
 * A device-mapper that only listens. Preloaded into the real lvm, it answers the ioctls of /dev/mapper/control
 * (Linux, include/uapi/linux/dm-ioctl.h) as a kernel with empty tables would, and notes what it's told to load:
 *
 *     device NAME UUID ro|rw
 *     START LENGTH TARGET PARAMETERS
 *
 * So the tables of a real lvm can be had where there is no device-mapper. Devices live as long as the process.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define MAJOR 250
#define MOST_DEVICES 512

static const char *const targets[] = {"linear", "striped", "error", "zero", "snapshot", "snapshot-origin", "mirror"};

struct device {
    char name[DM_NAME_LEN];
    char uuid[DM_UUID_LEN];
    char *table;
    uint32_t lines;
    int read_only, used, waiting, live;
};

static struct device devices[MOST_DEVICES];
static int control = -1;

static int is_control(const char *path) {
    const char *end = strstr(path, "/mapper/control");
    return end && !strcmp(end, "/mapper/control");
}

static int open_control(void) {
    int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, "open64");
    return control = real("/dev/null", O_RDWR | O_CLOEXEC);
}

int open64(const char *path, int flags, ...) {
    int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, "open64");
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    return is_control(path) ? open_control() : real(path, flags, mode);
}

int open(const char *path, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    return open64(path, flags, mode);
}

int stat64(const char *path, struct stat64 *found) {
    int (*real)(const char *, struct stat64 *) = dlsym(RTLD_NEXT, "stat64");
    if (!is_control(path))
        return real(path, found);
    memset(found, 0, sizeof *found);
    found->st_mode = S_IFCHR | 0600;
    found->st_rdev = makedev(10, 236);
    return 0;
}

int stat(const char *path, struct stat *found) {
    return stat64(path, (struct stat64 *)found);
}

FILE *fopen64(const char *path, const char *mode) {
    FILE *(*real)(const char *, const char *) = dlsym(RTLD_NEXT, "fopen64");
    static char misc[] = "236 device-mapper\n";
    static char numbers[] = "Character devices:\n 10 misc\n\nBlock devices:\n  7 loop\n250 device-mapper\n";
    if (!strcmp(path, "/proc/misc"))
        return fmemopen(misc, strlen(misc), "r");
    if (!strcmp(path, "/proc/devices"))
        return fmemopen(numbers, strlen(numbers), "r");
    return real(path, mode);
}

FILE *fopen(const char *path, const char *mode) {
    return fopen64(path, mode);
}

/* The device that a request means: by name, UUID or number. */
static struct device *find(const struct dm_ioctl *request) {
    for (int minor = 0; minor < MOST_DEVICES; minor++) {
        struct device *device = &devices[minor];
        if (!device->used)
            continue;
        if (request->name[0] ? !strcmp(device->name, request->name)
            : request->uuid[0] ? !strcmp(device->uuid, request->uuid)
                               : (int)(request->dev & 0xff) == minor)
            return device;
    }
    return NULL;
}

static int create(const struct dm_ioctl *request) {
    for (int minor = 0; minor < MOST_DEVICES; minor++)
        if (devices[minor].used && !strcmp(devices[minor].name, request->name))
            return EBUSY;
    for (int minor = 0; minor < MOST_DEVICES; minor++)
        if (!devices[minor].used) {
            struct device *device = &devices[minor];
            memset(device, 0, sizeof *device);
            device->used = 1;
            strcpy(device->name, request->name);
            strcpy(device->uuid, request->uuid);
            return 0;
        }
    return ENOMEM;
}

/* Keeps the lines of a table as text. */
static void load(struct device *device, const struct dm_ioctl *request) {
    size_t length = 0;
    FILE *text = open_memstream(&device->table, &length);
    const char *at = (const char *)request + request->data_start;
    for (uint32_t line = 0; line < request->target_count; line++) {
        const struct dm_target_spec *spec = (const void *)at;
        const char *parameters = at + sizeof *spec;
        fprintf(text, "%llu %llu %s%s%s\n", (unsigned long long)spec->sector_start, (unsigned long long)spec->length,
                spec->target_type, *parameters ? " " : "", parameters);
        at += spec->next;
    }
    fclose(text);
    device->waiting = 1;
    device->lines = request->target_count;
    device->read_only = !!(request->flags & DM_READONLY_FLAG);
}

static void start(struct device *device) {
    if (!device->waiting)
        return;
    device->waiting = 0, device->live = 1;
    FILE *(*real)(const char *, const char *) = dlsym(RTLD_NEXT, "fopen64");
    FILE *log = real(getenv("DEVICE_MAPPER_LOG"), "a");
    if (!log)
        abort();
    fprintf(log, "device %s %s %s\n%s", device->name, device->uuid, device->read_only ? "ro" : "rw", device->table);
    fclose(log);
}

/* The kernel's target types, in the form of DM_LIST_VERSIONS. */
static void list_targets(struct dm_ioctl *request) {
    char *at = (char *)request + request->data_start;
    for (size_t index = 0; index < sizeof targets / sizeof *targets; index++) {
        struct dm_target_versions *entry = (void *)at;
        size_t length = (sizeof *entry + strlen(targets[index]) + 1 + 7) & ~(size_t)7;
        entry->version[0] = 1, entry->version[1] = 99, entry->version[2] = 0;
        strcpy(entry->name, targets[index]);
        entry->next = index + 1 < sizeof targets / sizeof *targets ? length : 0;
        at += length;
    }
    request->data_size = at - (char *)request;
}

static void list_devices(struct dm_ioctl *request) {
    struct dm_name_list *entry = (void *)((char *)request + request->data_start);
    memset(entry, 0, sizeof *entry);
    request->data_size = request->data_start + sizeof *entry;
}

static int answer(unsigned command, struct dm_ioctl *request) {
    struct device *device = command == DM_DEV_CREATE_CMD ? NULL : find(request);
    int error = 0;
    request->version[0] = 4, request->version[1] = 47, request->version[2] = 0;
    switch (command) {
    case DM_VERSION_CMD:
        return 0;
    case DM_LIST_VERSIONS_CMD:
        list_targets(request);
        return 0;
    case DM_LIST_DEVICES_CMD:
        list_devices(request);
        return 0;
    case DM_DEV_CREATE_CMD:
        error = create(request);
        device = find(request);
        break;
    case DM_TABLE_LOAD_CMD:
        if (device)
            load(device, request);
        break;
    case DM_DEV_SUSPEND_CMD:
        if (device && !(request->flags & DM_SUSPEND_FLAG))
            start(device);
        break;
    case DM_DEV_REMOVE_CMD:
        if (device)
            device->used = 0;
        break;
    case DM_TABLE_DEPS_CMD:
        memset((char *)request + request->data_start, 0, sizeof(struct dm_target_deps));
        break;
    case DM_DEV_STATUS_CMD:
    case DM_TABLE_STATUS_CMD:
        break;
    default:
        return EOPNOTSUPP;
    }
    if (error)
        return error;
    if (!device)
        return ENXIO;
    /* The other flags stay: libdm keeps marks of its own among them. */
    request->flags &= ~(DM_SUSPEND_FLAG | DM_READONLY_FLAG | DM_ACTIVE_PRESENT_FLAG | DM_INACTIVE_PRESENT_FLAG);
    request->flags |= device->live ? DM_ACTIVE_PRESENT_FLAG : 0;
    request->flags |= device->waiting ? DM_INACTIVE_PRESENT_FLAG : 0;
    /* The tables themselves are never given back: lvm then loads them in full. */
    request->target_count = command == DM_TABLE_STATUS_CMD || !device->live ? 0 : device->lines;
    request->dev = makedev(MAJOR, device - devices);
    strcpy(request->name, device->name);
    strcpy(request->uuid, device->uuid);
    return 0;
}

int ioctl(int fd, unsigned long command, ...) {
    int (*real)(int, unsigned long, ...) = dlsym(RTLD_NEXT, "ioctl");
    va_list arguments;
    va_start(arguments, command);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    if (fd != control || ((command >> 8) & 0xff) != DM_IOCTL)
        return real(fd, command, argument);
    int error = answer(command & 0xff, argument);
    errno = error;
    return error ? -1 : 0;
}
