// What owns it: the processes of a world other than its init: are there any, and sending them all a
// signal.
#pragma once

namespace troot::cli {

class Population {
 public:
  /// `own_pids`: the caller is pid 1 of the world's pid namespace, and the kernel knows who is in
  /// it. Else members are found in /proc by their mount namespace.
  explicit Population(bool own_pids) : own_pids_(own_pids) {}

  /// True when there was anybody to send it to. Signal 0 only asks.
  bool signal(int number) const;
  /// Asks everybody to end, waits `grace_ms`, then kills, and waits until nobody is left or two
  /// seconds.
  void end(int grace_ms) const;

 private:
  bool signal_members(int number) const;
  bool wait_empty(int timeout_ms) const;
  bool own_pids_;
};

}  // namespace troot::cli
