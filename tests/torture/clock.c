/* The wall clock of a process, moved by as many seconds as a file says at that moment. Loaded with
 * LD_PRELOAD; every other clock is the machine's. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t id, struct timespec *time) {
    int result = (int)syscall(SYS_clock_gettime, id, time);
    const char *path = id == CLOCK_REALTIME && result == 0 ? getenv("TORTURE_CLOCK") : NULL;
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file >= 0) {
        char text[32] = {0};
        if (read(file, text, sizeof text - 1) > 0) {
            time->tv_sec += atoll(text);
        }
        close(file);
    }
    return result;
}
