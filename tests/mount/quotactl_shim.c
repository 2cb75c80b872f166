// A quotactl(2) for the stock repquota, quota and xfs_quota, so that they print the projects of a mount
// that the system call does not reach: preloaded, it answers from a file of numbers, and for the first two pretends one
// mount of ext4. Not built into anything; test_session.py compiles it.
//
// SHIM_ROWS: a file of lines `id used_bytes bsoft bhard btimer used_inodes isoft ihard itimer`, limits of bytes in KiB.
// SHIM_POINT: the mount point to pretend; its device is /dev/loop0. Without it the mounts are those that there are.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/dqblk_xfs.h>
#include <mntent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { kSync = 0x800001, kGetFormat = 0x800004, kGetInfo = 0x800005, kGetQuota = 0x800007, kGetNext = 0x800009 };
enum { kMost = 1000, kSystemFile = 1 << 16, kAllValid = 0x3f };

struct quota_row {  // struct if_nextdqblk of <linux/quota.h>
  uint64_t bhard, bsoft, used, ihard, isoft, inodes, btime, itime;
  uint32_t valid, id;
};
static struct quota_row rows[kMost];
static int count = -1;
static int given;

FILE *setmntent(const char *path, const char *mode) {
  given = 0;
  return fopen(getenv("SHIM_POINT") ? "/dev/null" : path, mode);
}

struct mntent *getmntent(FILE *file) {
  static struct mntent entry;
  if (!getenv("SHIM_POINT")) {
    struct mntent *(*const next)(FILE *) = (struct mntent * (*)(FILE *)) dlsym(RTLD_NEXT, "getmntent");
    return next(file);
  }
  if (given) return NULL;
  given = 1;
  entry.mnt_fsname = "/dev/loop0";
  entry.mnt_dir = getenv("SHIM_POINT");
  entry.mnt_type = "ext4";
  entry.mnt_opts = "rw,prjquota";
  return &entry;
}

static void load(void) {
  if (count >= 0) return;
  count = 0;
  FILE *file = fopen(getenv("SHIM_ROWS"), "r");
  if (!file) return;
  unsigned long long n[9];
  while (count < kMost && fscanf(file, "%llu %llu %llu %llu %llu %llu %llu %llu %llu", n, n + 1, n + 2, n + 3, n + 4,
                                 n + 5, n + 6, n + 7, n + 8) == 9) {
    const struct quota_row row = {n[3], n[2], n[1], n[7], n[6], n[5], n[4], n[8], kAllValid, (uint32_t)n[0]};
    rows[count++] = row;
  }
  fclose(file);
}

static void answer_xfs(const struct quota_row *row, char *to) {
  struct fs_disk_quota disk = {.d_version = 1, .d_flags = FS_PROJ_QUOTA, .d_id = row->id};
  disk.d_bcount = (row->used + 511) / 512;
  disk.d_blk_softlimit = row->bsoft * 2;
  disk.d_blk_hardlimit = row->bhard * 2;
  disk.d_icount = row->inodes;
  disk.d_ino_softlimit = row->isoft;
  disk.d_ino_hardlimit = row->ihard;
  disk.d_btimer = (int32_t)row->btime;
  disk.d_itimer = (int32_t)row->itime;
  memcpy(to, &disk, sizeof disk);
}

int quotactl(int command, const char *device, int id, char *to) {
  (void)device;
  load();
  switch ((unsigned)command >> 8) {
    case kSync:
      return 0;
    case kGetFormat:
      *(int *)to = 4;
      return 0;
    case kGetInfo: {
      const struct {
        uint64_t bytes, inodes;
        uint32_t flags, valid;
      } info = {604800, 604800, kSystemFile, 7};
      memcpy(to, &info, sizeof info);
      return 0;
    }
    case kGetQuota:
      memset(to, 0, sizeof rows[0] - 4);
      for (int i = 0; i < count; ++i) {
        if (rows[i].id == (uint32_t)id) memcpy(to, &rows[i], sizeof rows[0] - 4);
      }
      return 0;
    case kGetNext:
      for (int i = 0; i < count; ++i) {
        if (rows[i].id < (uint32_t)id) continue;
        memcpy(to, &rows[i], sizeof rows[0]);
        return 0;
      }
      errno = ENOENT;
      return -1;
    case Q_XQUOTASYNC:
      return 0;
    case Q_XGETQSTATV: {
      struct fs_quota_statv *state = (struct fs_quota_statv *)to;
      state->qs_flags = FS_QUOTA_PDQ_ACCT | FS_QUOTA_PDQ_ENFD;
      state->qs_btimelimit = state->qs_itimelimit = state->qs_rtbtimelimit = 604800;
      state->qs_pquota.qfs_ino = (uint64_t)-1;
      return 0;
    }
    case Q_XGETQUOTA:
    case Q_XGETNEXTQUOTA:
      for (int i = 0; i < count; ++i) {
        const int next = (unsigned)command >> 8 == Q_XGETNEXTQUOTA;
        if (next ? rows[i].id < (uint32_t)id : rows[i].id != (uint32_t)id) continue;
        answer_xfs(&rows[i], to);
        return 0;
      }
      errno = ENOENT;
      return -1;
    default:
      errno = EINVAL;
      return -1;
  }
}
