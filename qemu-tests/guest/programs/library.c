const char *keeltest_version(void) { return LABEL; }
