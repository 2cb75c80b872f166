/* A slow upper: preloaded to trootfs, lets a millisecond pass before each removal of a name. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>
#include <unistd.h>

int unlinkat(int dirfd, const char *name, int flags) {
  const struct timespec pause = {0, 1000000};
  nanosleep(&pause, NULL);
  return ((__typeof__(&unlinkat))dlsym(RTLD_NEXT, "unlinkat"))(dirfd, name, flags);
}
