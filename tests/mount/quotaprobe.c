// quotaprobe: asks a mounted file system how its project quota behaves, one fact a line: "case: answer".
// Usage: quotaprobe DIR 'SETLIMIT-COMMAND with %d(project) %d(soft KiB) %d(hard KiB) %d(isoft) %d(ihard)' [UID]
// DIR is an empty directory on the file system; run as root; the operations themselves run as UID (default 1000).
// quotaprobe.expected holds the answers: those of ext4 on Linux 6.1 with root bound as on XFS.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

static const char *limit_cmd;
static int uid = 1000, next_project = 1000;
static char base[3000], buf[4 << 20];
static const char *en(int e) {
  static char o[32];
  switch (e) {
    case 0: return "ok";
    case EDQUOT: return "EDQUOT"; case ENOSPC: return "ENOSPC"; case EXDEV: return "EXDEV"; case EPERM: return "EPERM";
    case EACCES: return "EACCES"; case EINVAL: return "EINVAL"; case ENOTTY: return "ENOTTY"; case EOPNOTSUPP: return "EOPNOTSUPP";
    case EIO: return "EIO"; case ENOENT: return "ENOENT"; case EEXIST: return "EEXIST"; case ERANGE: return "ERANGE"; case E2BIG: return "E2BIG";
  }
  snprintf(o, sizeof o, "errno %d", e);
  return o;
}
#define R(call) ((call) < 0 ? en(errno) : "ok")
static void say(const char *name, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  printf("%s: ", name);
  vprintf(fmt, ap);
  puts("");
  fflush(stdout);
  va_end(ap);
}
static void limit(int p, int bs, int bh, int is, int ih) {
  char c[1000];
  snprintf(c, sizeof c, limit_cmd, p, bs, bh, is, ih);
  if (system(c)) say("setlimit", "failed: %s", c);
}
static int fsx(const char *p, int set, unsigned id, int inherit, struct fsxattr *out) {
  int fd = open(p, O_RDONLY | O_NONBLOCK);
  if (fd < 0) return -1;
  struct fsxattr x;
  int r = ioctl(fd, FS_IOC_FSGETXATTR, &x);
  if (!r && set) {
    x.fsx_projid = id;
    x.fsx_xflags = inherit ? x.fsx_xflags | FS_XFLAG_PROJINHERIT : x.fsx_xflags & ~FS_XFLAG_PROJINHERIT;
    r = ioctl(fd, FS_IOC_FSSETXATTR, &x);
  }
  int e = errno;
  if (!r && out) *out = x;
  close(fd);
  errno = e;
  return r;
}
static char *at(const char *fmt, ...) {  // up to 8 results live
  static char s[8][4096];
  static int i;
  char *o = s[i++ & 7];
  int n = snprintf(o, 4096, "%s/", base);
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(o + n, 4096 - n, fmt, ap);
  va_end(ap);
  return o;
}
static int project(const char *name) {  // a directory owned by uid, with its own project, inheriting
  int p = ++next_project;
  char *d = at("%s", name);
  mkdir(d, 0755);
  chown(d, uid, uid);
  if (fsx(d, 1, p, 1, NULL)) say(name, "set project: %s", en(errno));
  return p;
}
static char *fill(const char *path, size_t total, size_t chunk) {  // "N bytes, errno"
  static char o[100];
  int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0644);
  if (fd < 0) { snprintf(o, sizeof o, "open %s", en(errno)); return o; }
  size_t done = 0;
  int e = 0;
  while (done < total) {
    ssize_t n = write(fd, buf, chunk);
    if (n < 0) { e = errno; break; }
    done += (size_t)n;
    if ((size_t)n < chunk) { ssize_t m = write(fd, buf, chunk); e = m < 0 ? errno : 0; if (m > 0) done += (size_t)m; else break; }
  }
  int c = close(fd) ? errno : 0;
  snprintf(o, sizeof o, "%zu bytes, then %s%s%s", done, en(e), c ? ", close " : "", c ? en(c) : "");
  return o;
}
static sigjmp_buf jb;
static void bus(int s) { (void)s; siglongjmp(jb, 1); }
static void as_user(void (*f)(void)) {
  fflush(stdout);
  if (fork() == 0) {
    if (setgid(uid) || setuid(uid)) _exit(9);
    f();
    fflush(stdout);
    _exit(0);
  }
  wait(NULL);
}
// --- cases -------------------------------------------------------------------------------------------------
static void c_inherit(void) {
  struct fsxattr x;
  mkdir(at("inh/d"), 0755); close(open(at("inh/f"), O_CREAT | O_WRONLY, 0644)); close(open(at("inh/d/g"), O_CREAT | O_WRONLY, 0644));
  fsx(at("inh"), 0, 0, 0, &x); unsigned want = x.fsx_projid;
  fsx(at("inh/f"), 0, 0, 0, &x); say("inherit file", "%s, inherit flag %d", x.fsx_projid == want ? "parent's id" : "other id", !!(x.fsx_xflags & FS_XFLAG_PROJINHERIT));
  fsx(at("inh/d"), 0, 0, 0, &x); say("inherit directory", "%s, inherit flag %d", x.fsx_projid == want ? "parent's id" : "other id", !!(x.fsx_xflags & FS_XFLAG_PROJINHERIT));
  fsx(at("inh/d/g"), 0, 0, 0, &x); say("inherit second level", "%s", x.fsx_projid == want ? "parent's id" : "other id");
  say("owner changes the id of a file", "%s", R(fsx(at("inh/f"), 1, 7, 0, NULL)));
  fsx(at("inh/d"), 1, want, 0, NULL); close(open(at("inh/d/h"), O_CREAT | O_WRONLY, 0644)); fsx(at("inh/d/h"), 0, 0, 0, &x); say("created where the flag was cleared", "%s", x.fsx_projid == 0 ? "id 0" : "other id");
}
static void c_hard(void) { say("hard 1024K, chunks of 64K", "%s", fill(at("hard/f"), 4 << 20, 65536)); }
static void c_hard2(void) {
  int fd = open(at("hard/f"), O_RDWR);
  say("overwrite at the limit", "%s", R(pwrite(fd, buf, 4096, 0)));
  say("truncate up at the limit", "%s", R(ftruncate(fd, 8 << 20)));
  say("write into the hole at the limit", "%s", R(pwrite(fd, buf, 4096, 6 << 20)));
  say("fallocate at the limit", "%s", R(fallocate(fd, 0, 4 << 20, 65536)));
  say("punch at the limit", "%s", R(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 65536)));
  say("write after the punch", "%s", R(pwrite(fd, buf, 32768, 6 << 20)));
  say("truncate down", "%s", R(ftruncate(fd, 0)));
  close(fd);
  say("unlink at the limit", "%s", R(unlink(at("hard/f"))));
}
static void c_one(void) { int fd = open(at("one/f"), O_WRONLY | O_CREAT, 0644); ssize_t n = write(fd, buf, 2 << 20); say("one write of 2M, hard 1024K", "%zd", n < 0 ? -(ssize_t)errno : n); say("the next write", "%s", R(write(fd, buf, 4096))); close(fd); }
static void c_direct(void) {
  static char al[1 << 20] __attribute__((aligned(4096)));
  int fd = open(at("dio/f"), O_WRONLY | O_CREAT | O_DIRECT, 0644); if (fd < 0) { say("O_DIRECT", "open %s", en(errno)); return; }
  ssize_t t = 0, n; int e = 0; for (int i = 0; i < 64; i++) { n = write(fd, al, 65536); if (n < 0) { e = errno; break; } t += n; }
  say("O_DIRECT chunks of 64K, hard 1024K", "%zd bytes, then %s", t, en(e)); close(fd);
}
static void c_inodes(void) {
  int i; for (i = 0; i < 20; i++) { int fd = open(at("ino/f%d", i), O_CREAT | O_EXCL | O_WRONLY, 0644); if (fd < 0) break; close(fd); }
  say("files under an inode limit of 5 with the directory counted", "%d, then %s", i, en(errno));
  say("mkdir at the inode limit", "%s", R(mkdir(at("ino/d"), 0755))); say("symlink", "%s", R(symlink("x", at("ino/s")))); say("mkfifo", "%s", R(mkfifo(at("ino/p"), 0644)));
  say("link of a file of the project", "%s", R(link(at("ino/f0"), at("ino/l"))));
  say("O_TMPFILE", "%s", R(open(at("ino"), O_TMPFILE | O_WRONLY, 0644)));
  say("rename inside", "%s", R(rename(at("ino/f1"), at("ino/r")))); unlink(at("ino/r")); say("create after an unlink", "%s", R(open(at("ino/n"), O_CREAT | O_WRONLY, 0644)));
}
static void c_cross(void) {
  struct fsxattr x, y;
  close(open(at("out/a"), O_CREAT | O_WRONLY, 0644)); close(open(at("cr1/b"), O_CREAT | O_WRONLY, 0644)); close(open(at("cr2/c"), O_CREAT | O_WRONLY, 0644)); mkdir(at("out/d"), 0755); symlink("x", at("out/s")); mkfifo(at("out/p"), 0644);
  say("link from project 0 into a project", "%s", R(link(at("out/a"), at("cr1/a")))); say("rename from project 0 into a project", "%s", R(rename(at("out/a"), at("cr1/a2"))));
  say("rename a directory of project 0 into a project", "%s", R(rename(at("out/d"), at("cr1/d")))); say("rename a symlink of project 0 into a project", "%s", R(rename(at("out/s"), at("cr1/s")))); say("rename a fifo of project 0 into a project", "%s", R(rename(at("out/p"), at("cr1/p"))));
  say("link from one project into another", "%s", R(link(at("cr1/b"), at("cr2/b")))); say("rename from one project into another", "%s", R(rename(at("cr1/b"), at("cr2/b"))));
  say("exchange between projects", "%s", R(renameat2(AT_FDCWD, at("cr1/b"), AT_FDCWD, at("cr2/c"), RENAME_EXCHANGE)));
  say("link from a project to project 0", "%s", R(link(at("cr1/b"), at("out/lb"))));
  fsx(at("cr1/b"), 0, 0, 0, &x); say("rename from a project to project 0", "%s", R(rename(at("cr1/b"), at("out/b")))); if (!fsx(at("out/b"), 0, 0, 0, &y)) say("its id afterwards", "%s", x.fsx_projid == y.fsx_projid ? "kept" : "changed");
}
static void c_open(void) {
  int fd = open(at("opn/f"), O_RDWR | O_CREAT, 0644); write(fd, buf, 1 << 20); say("unlink of the open file that fills the project", "%s", R(unlink(at("opn/f"))));
  int g = open(at("opn/g"), O_WRONLY | O_CREAT, 0644); say("write of another while it is open", "%s", R(write(g, buf, 65536))); close(fd); sync(); say("write once it is closed", "%s", R(write(g, buf, 65536))); close(g);
}
static void c_victim(void) { fill(at("vic/a"), 600 << 10, 4096); fill(at("vic/b"), 300 << 10, 4096); rename(at("vic/b"), at("vic/a")); say("room after a rename over a victim of 600K (hard 1024K, 300K left used)", "%s", fill(at("vic/c"), 600 << 10, 4096)); }
static void c_mmap(void) {
  int fd = open(at("map/f"), O_RDWR | O_CREAT, 0644); ftruncate(fd, 4 << 20); fill(at("map/g"), 2 << 20, 4096);
  char *m = mmap(NULL, 4 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0); signal(SIGBUS, bus);
  if (sigsetjmp(jb, 1) == 0) { memset(m, 1, 1 << 20); say("store to a hole of a mapping at the limit", "no signal; msync %s", R(msync(m, 1 << 20, MS_SYNC))); } else say("store to a hole of a mapping at the limit", "SIGBUS");
  const char *f = R(fsync(fd)); say("fsync", "%s", f); say("close", "%s", R(close(fd)));
}
static int g_fd;
static void c_live1(void) { g_fd = open(at("live/f"), O_WRONLY | O_CREAT | O_APPEND, 0644); }
static void c_low(void) { fill(at("low/f"), 600 << 10, 4096); }
static void c_low2(void) { say("write over a limit lowered below usage", "%s", fill(at("low/f"), 4096, 4096)); say("truncate to less, still over", "%s", R(truncate(at("low/f"), 400 << 10))); say("write, still over", "%s", fill(at("low/f"), 4096, 4096)); say("truncate below the limit", "%s", R(truncate(at("low/f"), 100 << 10))); say("write, below again", "%s", fill(at("low/f"), 4096, 4096)); }
static void c_soft(void) { say("crossing soft 256K (hard 1024K)", "%s", fill(at("soft/f"), 512 << 10, 4096)); say("create while over soft within grace", "%s", R(open(at("soft/g"), O_CREAT | O_WRONLY, 0644))); }
static void c_cfr(void) { fill(at("out/src"), 2 << 20, 65536); int a = open(at("out/src"), O_RDONLY), b = open(at("cfr/f"), O_WRONLY | O_CREAT, 0644); ssize_t n, t = 0; while ((n = copy_file_range(a, NULL, b, NULL, 2 << 20, 0)) > 0) t += n; say("copy_file_range of 2M, hard 1024K", "%zd bytes, then %s", t, n < 0 ? en(errno) : "end"); }
static void c_xattr(void) { fill(at("xat/f"), 2 << 20, 4096); static char v[60000]; int i, e = 0; for (i = 0; i < 40; i++) { char k[40]; snprintf(k, sizeof k, "user.k%d", i); int fd = open(at("xat/f"), O_RDWR); if (fsetxattr(fd, k, v, 3000, 0)) { e = errno; close(fd); break; } close(fd); } say("xattrs of 3000 bytes on one file at the limit", "%d set, then %s", i, en(e)); }
static void c_chid(void) { fill(at("out/big"), 512 << 10, 65536); }

int main(int argc, char **argv) {
  if (argc < 3) { fprintf(stderr, "usage: quotaprobe DIR SETLIMIT [UID]\n"); return 2; }
  snprintf(base, sizeof base, "%s", argv[1]); limit_cmd = argv[2]; if (argc > 3) uid = atoi(argv[3]);
  memset(buf, 'q', sizeof buf); chmod(base, 0755); mkdir(at("out"), 0755); chown(at("out"), uid, uid);
  project("inh"); as_user(c_inherit);
  limit(project("hard"), 0, 1024, 0, 0); as_user(c_hard); as_user(c_hard2);
  limit(project("one"), 0, 1024, 0, 0); as_user(c_one);
  limit(project("dio"), 0, 1024, 0, 0); as_user(c_direct);
  limit(project("ino"), 0, 0, 0, 5); as_user(c_inodes);
  project("cr1"); project("cr2"); as_user(c_cross);
  limit(project("opn"), 0, 1088, 0, 0); as_user(c_open);
  limit(project("vic"), 0, 1024, 0, 0); as_user(c_victim);
  limit(project("map"), 0, 1024, 0, 0); as_user(c_mmap);
  int p = project("live"); c_live1(); say("write, no limit", "%s", R(write(g_fd, buf, 1 << 20))); limit(p, 0, 1024, 0, 0);
  if (fork() == 0) { if (setgid(uid) || setuid(uid)) _exit(9); say("write to the open file after a limit was set below its size", "%s", R(write(g_fd, buf, 65536))); _exit(0); } wait(NULL); close(g_fd);
  p = project("low"); limit(p, 0, 1024, 0, 0); as_user(c_low); limit(p, 0, 256, 0, 0); as_user(c_low2);
  limit(project("soft"), 256, 1024, 0, 0); as_user(c_soft);
  limit(project("cfr"), 0, 1024, 0, 0); as_user(c_cfr);
  limit(project("xat"), 0, 1024, 0, 0); as_user(c_xattr);
  p = project("chid"); limit(p, 0, 128, 0, 0); as_user(c_chid);
  say("root gives a file of 512K to a project with hard 128K", "%s", R(fsx(at("out/big"), 1, (unsigned)p, 0, NULL)));
  p = project("df"); limit(p, 0, 2048, 0, 100); struct statvfs v; statvfs(at("df"), &v);
  say("statvfs of an empty project with hard 2048K and 100 inodes", "size %lluK, free %lluK, files %llu, ffree %llu", (unsigned long long)v.f_blocks * v.f_frsize / 1024, (unsigned long long)v.f_bfree * v.f_frsize / 1024, (unsigned long long)v.f_files, (unsigned long long)v.f_ffree);
  p = project("rt"); limit(p, 0, 1024, 0, 0); say("root over hard 1024K", "%s", fill(at("rt/f"), 2 << 20, 65536));
  return 0;
}
