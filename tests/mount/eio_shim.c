/* A failing disk: preloaded to trootfs, answers EIO to whatever is written to or flushed of the
 * ledger's database while the file named by SHIM_EIO_WHILE exists. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int fails(int fd) {
  char link[64], path[4096];
  const char *flag = getenv("SHIM_EIO_WHILE");
  if (flag == NULL || access(flag, F_OK) != 0) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t n = readlink(link, path, sizeof path - 1);
  if (n < 0) return 0;
  path[n] = 0;
  return strstr(path, "/ledger/db/") != NULL;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define UNLESS_FAILING(fd, call) \
  if (!fails(fd)) return call;   \
  errno = EIO;                   \
  return -1

ssize_t write(int fd, const void *data, size_t size) { UNLESS_FAILING(fd, NEXT(write)(fd, data, size)); }
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) { UNLESS_FAILING(fd, NEXT(pwrite64)(fd, data, size, at)); }
int fsync(int fd) { UNLESS_FAILING(fd, NEXT(fsync)(fd)); }
int fdatasync(int fd) { UNLESS_FAILING(fd, NEXT(fdatasync)(fd)); }
