/* A host that lets nobody make user namespaces: unshare(2) says EPERM. */
#include <errno.h>

int unshare(int flags) {
  (void)flags;
  errno = EPERM;
  return -1;
}
