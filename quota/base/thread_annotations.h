// The spelling of clang's thread-safety attributes. With clang, -Wthread-safety
// proves at compile time that a field is touched only under its lock; g++ sees nothing.
#pragma once

#if defined(__clang__)
#define TROOT_ATTRIBUTE_(x) __attribute__((x))
#else
#define TROOT_ATTRIBUTE_(x)
#endif

/// On a class: its objects are locks.
#define CAPABILITY(name) TROOT_ATTRIBUTE_(capability(name))
/// On a class: it locks in its constructor and unlocks in its destructor.
#define SCOPED_CAPABILITY TROOT_ATTRIBUTE_(scoped_lockable)
/// On a field: touched only under this lock. PT_: what the pointer points to is.
#define GUARDED_BY(lock) TROOT_ATTRIBUTE_(guarded_by(lock))
#define PT_GUARDED_BY(lock) TROOT_ATTRIBUTE_(pt_guarded_by(lock))
/// On a function: the caller holds the lock (alone, or shared with readers).
#define REQUIRES(...) TROOT_ATTRIBUTE_(requires_capability(__VA_ARGS__))
#define REQUIRES_SHARED(...) TROOT_ATTRIBUTE_(requires_shared_capability(__VA_ARGS__))
/// On a function: the caller does not hold the lock.
#define EXCLUDES(...) TROOT_ATTRIBUTE_(locks_excluded(__VA_ARGS__))
/// On a function that does nothing: the caller has the lock, which he knows by another name.
#define ASSERT_CAPABILITY(x) TROOT_ATTRIBUTE_(assert_capability(x))
/// On a function: it takes or gives back the lock.
#define ACQUIRE(...) TROOT_ATTRIBUTE_(acquire_capability(__VA_ARGS__))
#define ACQUIRE_SHARED(...) TROOT_ATTRIBUTE_(acquire_shared_capability(__VA_ARGS__))
#define TRY_ACQUIRE(...) TROOT_ATTRIBUTE_(try_acquire_capability(__VA_ARGS__))
#define RELEASE(...) TROOT_ATTRIBUTE_(release_capability(__VA_ARGS__))
#define RELEASE_SHARED(...) TROOT_ATTRIBUTE_(release_shared_capability(__VA_ARGS__))
#define RELEASE_GENERIC(...) TROOT_ATTRIBUTE_(release_generic_capability(__VA_ARGS__))
/// On a lock: the order in which several are taken.
#define ACQUIRED_BEFORE(...) TROOT_ATTRIBUTE_(acquired_before(__VA_ARGS__))
#define ACQUIRED_AFTER(...) TROOT_ATTRIBUTE_(acquired_after(__VA_ARGS__))
#define RETURN_CAPABILITY(lock) TROOT_ATTRIBUTE_(lock_returned(lock))
/// On a function that the analysis cannot follow; a comment there says why it is right.
#define NO_THREAD_SAFETY_ANALYSIS TROOT_ATTRIBUTE_(no_thread_safety_analysis)
