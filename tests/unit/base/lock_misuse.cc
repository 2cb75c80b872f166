// Planted offences against the locks: clang must refuse just the lines that end in "// refused".
// lock_misuse.py compiles it; it is part of no program.
#include "fusefs/base/small_lock.h"
#include "quota/base/mutex.h"

using namespace troot;

struct Guarded {
  Mutex mutex;
  int in_mutex GUARDED_BY(mutex) = 0;
  SharedMutex shared;
  int in_shared GUARDED_BY(shared) = 0;
  fusefs::SmallMutex small;
  int in_small GUARDED_BY(small) = 0;
  fusefs::SmallRwLock names;
  int in_names GUARDED_BY(names) = 0;
  CondVar changed;

  int right() {
    MutexLock a(mutex);
    while (in_mutex == 0) changed.wait(mutex);
    a.unlock();
    a.lock();
    const MutexLock b(small);
    const WriteLock c(shared);
    ReadLock d(names);
    if (in_names != 0) d.unlock();
    return in_mutex + in_small + in_shared++;
  }
  void right_adopted() {
    names.lock();
    const WriteLock held(names, kAdopt);
    ++in_names;
  }

  void no_lock() {
    ++in_mutex;  // refused
  }
  void no_small_lock() {
    ++in_small;  // refused
  }
  void written_by_a_reader() {
    const ReadLock lock(names);
    ++in_names;  // refused
  }
  void written_by_another_reader() {
    const ReadLock lock(shared);
    ++in_shared;  // refused
  }
  void after_unlock() {
    WriteLock lock(names);
    lock.unlock();
    ++in_names;  // refused
  }
  void taken_twice() {
    const MutexLock once(small);
    const MutexLock twice(small);  // refused
  }
  void adopted_without_holding() {
    const WriteLock lock(names, kAdopt);  // refused
  }
  void given_back_twice() {
    ReadLock lock(names);
    lock.unlock();
    lock.unlock();  // refused
  }
  void waited_without_holding() {
    changed.wait(mutex);  // refused
  }
  void another_lock() {
    const MutexLock lock(mutex);
    ++in_small;  // refused
  }
};
