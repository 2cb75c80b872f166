// Timing single file system calls in a directory, for tests/bench/run.
// Usage: microfs DIR OPERATION COUNT [PROCESSES]; prints "OPERATION PER_SECOND", summed over the processes.
//
// Operations: stat roundtrip negstat openclose create mkdir unlink churn rename readdir, and with a block size in bytes
// appended: write read rwrite rread (r: at random places of a file of COUNT blocks) store load (the same in a row, by
// shared mappings of a file of COUNT blocks, msync(2) included).
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char block[1 << 20];

static void die(const char *what) {
  fprintf(stderr, "microfs: %s: %s\n", what, strerror(errno));
  exit(1);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void make_file(const char *path, size_t bytes) {
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (fd < 0) die("open");
  if (bytes && write(fd, block, bytes) != (ssize_t)bytes) die("write");
  if (close(fd)) die("close");
}

static int open_blocks(const char *path, size_t size, long count) {
  int fd = open(path, O_RDWR | O_CREAT, 0644);
  if (fd < 0) die("open");
  for (long i = 0; i < count; i++)
    if (write(fd, block, size) != (ssize_t)size) die("write");
  return fd;
}

struct job {
  const char *dir;
  long count;
  size_t size;
  char a[4200], b[4200];
};

static const char *nth(struct job *j, char *into, const char *stem, long i) {
  snprintf(into, sizeof j->a, "%s/%s%ld", j->dir, stem, i);
  return into;
}

// Each operation prepares what it needs, then returns the seconds that `count` of it took.
static double op_stat(struct job *j) {
  struct stat st;
  make_file(nth(j, j->a, "file", 0), 1);
  double start = now();
  for (long i = 0; i < j->count; i++)
    if (stat(j->a, &st)) die("stat");
  return now() - start;
}
// Asks the file system, whatever the kernel remembers: the price of one upcall where there is a server.
static double op_roundtrip(struct job *j) {
  struct statx st;
  make_file(nth(j, j->a, "file", 0), 1);
  double start = now();
  for (long i = 0; i < j->count; i++)
    if (statx(AT_FDCWD, j->a, AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, &st)) die("statx");
  return now() - start;
}
static double op_negstat(struct job *j) {
  struct stat st;
  nth(j, j->a, "absent", 0);
  double start = now();
  for (long i = 0; i < j->count; i++)
    if (!stat(j->a, &st)) die("stat of an absent file");
  return now() - start;
}
static double op_openclose(struct job *j) {
  make_file(nth(j, j->a, "file", 0), 1);
  double start = now();
  for (long i = 0; i < j->count; i++) {
    int fd = open(j->a, O_RDONLY);
    if (fd < 0) die("open");
    close(fd);
  }
  return now() - start;
}
static double op_create(struct job *j) {
  double start = now();
  for (long i = 0; i < j->count; i++) make_file(nth(j, j->a, "f", i), 4096);
  return now() - start;
}
static double op_mkdir(struct job *j) {
  double start = now();
  for (long i = 0; i < j->count; i++)
    if (mkdir(nth(j, j->a, "d", i), 0755)) die("mkdir");
  return now() - start;
}
static double op_unlink(struct job *j) {
  op_create(j);
  double start = now();
  for (long i = 0; i < j->count; i++)
    if (unlink(nth(j, j->a, "f", i))) die("unlink");
  return now() - start;
}
static double op_churn(struct job *j) {
  double start = now();
  for (long i = 0; i < j->count; i++) {
    make_file(nth(j, j->a, "c", i), 0);
    if (unlink(j->a)) die("unlink");
  }
  return now() - start;
}
static double op_rename(struct job *j) {
  make_file(nth(j, j->a, "r", 0), 1);
  double start = now();
  for (long i = 0; i < j->count; i++)
    if (rename(nth(j, j->a, "r", i), nth(j, j->b, "r", i + 1))) die("rename");
  return now() - start;
}
static double op_readdir(struct job *j) {
  for (long i = 0; i < 1000; i++) make_file(nth(j, j->a, "f", i), 0);
  double start = now();
  for (long i = 0; i < j->count; i++) {
    DIR *dir = opendir(j->dir);
    if (!dir) die("opendir");
    while (readdir(dir)) continue;
    closedir(dir);
  }
  return now() - start;
}
static double op_write(struct job *j) {
  int fd = open(nth(j, j->a, "file", 0), O_WRONLY | O_CREAT, 0644);
  double start = now();
  for (long i = 0; i < j->count; i++)
    if (write(fd, block, j->size) != (ssize_t)j->size) die("write");
  if (close(fd)) die("close");
  return now() - start;
}
static double op_read(struct job *j) {
  close(open_blocks(nth(j, j->a, "file", 0), j->size, j->count));
  int fd = open(j->a, O_RDONLY);
  posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  double start = now();
  for (long i = 0; i < j->count; i++)
    if (read(fd, block, j->size) != (ssize_t)j->size) die("read");
  double took = now() - start;
  close(fd);
  return took;
}
static double op_rwrite(struct job *j) {
  int fd = open_blocks(nth(j, j->a, "file", 0), j->size, j->count);
  srandom(7);
  double start = now();
  for (long i = 0; i < j->count; i++)
    if (pwrite(fd, block, j->size, (off_t)j->size * (random() % j->count)) != (ssize_t)j->size) die("pwrite");
  if (close(fd)) die("close");
  return now() - start;
}
static double op_rread(struct job *j) {
  int fd = open_blocks(nth(j, j->a, "file", 0), j->size, j->count);
  srandom(7);
  double start = now();
  for (long i = 0; i < j->count; i++)
    if (pread(fd, block, j->size, (off_t)j->size * (random() % j->count)) != (ssize_t)j->size) die("pread");
  close(fd);
  return now() - start;
}
static char *map_blocks(int fd, size_t bytes) {
  char *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (map == MAP_FAILED) die("mmap");
  return map;
}
static double op_store(struct job *j) {
  int fd = open_blocks(nth(j, j->a, "file", 0), j->size, j->count);
  size_t bytes = j->size * (size_t)j->count;
  double start = now();
  char *map = map_blocks(fd, bytes);
  for (size_t at = 0; at < bytes; at += j->size) memset(map + at, 'x', j->size);
  if (msync(map, bytes, MS_SYNC)) die("msync");
  munmap(map, bytes);
  double took = now() - start;
  close(fd);
  return took;
}
static double op_load(struct job *j) {
  int fd = open_blocks(nth(j, j->a, "file", 0), j->size, j->count);
  size_t bytes = j->size * (size_t)j->count;
  posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  double start = now();
  char *map = map_blocks(fd, bytes);
  for (size_t at = 0; at < bytes; at += j->size) memcpy(block, map + at, j->size);
  munmap(map, bytes);
  double took = now() - start;
  close(fd);
  return took;
}

static const struct operation {
  const char *name;
  int sized;
  double (*run)(struct job *);
} operations[] = {
    {"stat", 0, op_stat},     {"negstat", 0, op_negstat}, {"openclose", 0, op_openclose}, {"create", 0, op_create},
    {"mkdir", 0, op_mkdir},   {"unlink", 0, op_unlink},   {"churn", 0, op_churn},         {"rename", 0, op_rename},
    {"readdir", 0, op_readdir}, {"rwrite", 1, op_rwrite}, {"rread", 1, op_rread},         {"write", 1, op_write},
    {"read", 1, op_read},     {"roundtrip", 0, op_roundtrip}, {"store", 1, op_store},       {"load", 1, op_load},
};

static const struct operation *find(const char *name, size_t *size) {
  for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
    const struct operation *o = &operations[i];
    size_t length = strlen(o->name);
    if (!o->sized && strcmp(name, o->name) == 0) return o;
    if (o->sized && strncmp(name, o->name, length) == 0 && name[length] >= '1' && name[length] <= '9') {
      *size = strtoul(name + length, NULL, 10);
      if (*size <= sizeof block) return o;
    }
  }
  return NULL;
}

int main(int argc, char **argv) {
  size_t size = 0;
  const struct operation *operation = argc >= 4 ? find(argv[2], &size) : NULL;
  long count = argc >= 4 ? strtol(argv[3], NULL, 10) : 0;
  int processes = argc > 4 ? (int)strtol(argv[4], NULL, 10) : 1;
  if (!operation || count < 1 || processes < 1) {
    fprintf(stderr, "usage: microfs DIR OPERATION COUNT [PROCESSES]\n");
    return 2;
  }
  double *took = mmap(NULL, sizeof *took * (size_t)processes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (took == MAP_FAILED) die("mmap");
  for (int k = 0; k < processes; k++) {
    pid_t pid = fork();
    if (pid < 0) die("fork");
    if (pid == 0) {
      char dir[4000];
      snprintf(dir, sizeof dir, "%s/micro.%s.%d", argv[1], argv[2], k);
      if (mkdir(dir, 0755)) die("mkdir");
      static struct job job;
      job.dir = dir;
      job.count = count;
      job.size = size;
      took[k] = operation->run(&job);
      exit(0);
    }
  }
  int failed = 0, status;
  while (wait(&status) > 0) failed |= status;
  if (failed) return 1;
  double rate = 0;
  for (int k = 0; k < processes; k++) rate += (double)count / took[k];
  printf("%s %.0f\n", argv[2], rate);
  return 0;
}
