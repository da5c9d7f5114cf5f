/* Loaded before libc: while the file FAIL_WHEN is there, FAIL_CALL fails with FAIL_ERRNO on files whose path holds FAIL_PATH. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int fails(const char *call, const char *path) {
    const char *wanted = getenv("FAIL_CALL"), *part = getenv("FAIL_PATH"), *when = getenv("FAIL_WHEN");
    const char *number = getenv("FAIL_ERRNO");
    if (!wanted || !part || !when || !number || strcmp(wanted, call) != 0 || !strstr(path, part)) return 0;
    /* Not access(): who calls may look at errno afterwards. */
    if (syscall(SYS_faccessat, AT_FDCWD, when, F_OK) != 0) return 0;
    errno = atoi(number);
    return 1;
}

static int fails_on(const char *call, int fd) {
    char link[64], path[4096];
    int before = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof path - 1);
    if (len < 0) {
        errno = before;
        return 0;
    }
    path[len] = 0;
    if (fails(call, path)) return 1;
    errno = before;
    return 0;
}

#define REAL(name, ...) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))(__VA_ARGS__)

ssize_t pwrite64(int fd, const void *data, size_t len, off64_t at) {
    return fails_on("write", fd) ? -1 : REAL(pwrite64, fd, data, len, at);
}

ssize_t pread64(int fd, void *data, size_t len, off64_t at) {
    return fails_on("read", fd) ? -1 : REAL(pread64, fd, data, len, at);
}

int fdatasync(int fd) { return fails_on("sync", fd) ? -1 : REAL(fdatasync, fd); }

int fsync(int fd) { return fails_on("sync", fd) ? -1 : REAL(fsync, fd); }

int ftruncate64(int fd, off64_t len) { return fails_on("truncate", fd) ? -1 : REAL(ftruncate64, fd, len); }

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    int mode = va_arg(rest, int);
    va_end(rest);
    return fails("open", path) ? -1 : REAL(open64, path, flags, mode);
}
