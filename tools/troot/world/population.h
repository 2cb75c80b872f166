// The processes of a world other than its init: are there any, and sending them all a
// signal.
#pragma once

namespace troot::cli {

/// The caller is pid 1 of the world's pid namespace, and the kernel knows who is in it.
class Population {
 public:
  /// True when there was anybody to send it to. Signal 0 only asks.
  bool signal(int number) const;
  /// Asks everybody to end, waits `grace_ms`, then kills, and waits until nobody is left or two
  /// seconds.
  void end(int grace_ms) const;

 private:
  bool wait_empty(int timeout_ms) const;
};

}  // namespace troot::cli
