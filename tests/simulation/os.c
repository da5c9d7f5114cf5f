/* The operating system's random source and clocks, as a simulated process sees them: everything follows from
 * KEELSTONE_SIM_SEED. Loaded before libc (LD_PRELOAD), so that hash maps, tokio's choices and whatever libraries
 * draw or measure are the same in each run of a seed. Time only creeps: what a simulation decides by time it takes
 * from tokio's paused clock. Used by a process with one thread. */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/types.h>
#include <time.h>

static uint64_t state;
static int seeded;
static uint64_t creep_nanos;

static uint64_t draw(void) {
    if (!seeded) {
        const char *seed = getenv("KEELSTONE_SIM_SEED");
        state = seed ? strtoull(seed, NULL, 10) : 0;
        seeded = 1;
    }
    state += 0x9e3779b97f4a7c15ULL;
    uint64_t mixed = state;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9ULL;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebULL;
    return mixed ^ (mixed >> 31);
}

ssize_t getrandom(void *out, size_t len, unsigned flags) {
    (void)flags;
    for (size_t at = 0; at < len; at += sizeof(uint64_t)) {
        uint64_t drawn = draw();
        size_t left = len - at;
        memcpy((char *)out + at, &drawn, left < sizeof drawn ? left : sizeof drawn);
    }
    return (ssize_t)len;
}

int getentropy(void *out, size_t len) {
    getrandom(out, len, 0);
    return 0;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    (void)clock;
    creep_nanos += 1000;
    now->tv_sec = 1700000000 + (time_t)(creep_nanos / 1000000000);
    now->tv_nsec = (long)(creep_nanos % 1000000000);
    return 0;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    (void)zone;
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *out) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    if (out) *out = precise.tv_sec;
    return precise.tv_sec;
}
