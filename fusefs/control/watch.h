// One subscriber of the control socket's `watch`: where it stands in the ring of events, and what
// it has not taken yet. Bounded: the next events are looked up only once the last were sent, so
// that a subscriber that does not read falls behind in the ring and costs nothing.
#pragma once

#include <cstdint>
#include <string>

#include "quota/events.h"

namespace troot::fusefs {

/// A line of the answer to `watch` (fusefs/control/protocol.h), without newline.
[[nodiscard]] std::string event_line(const quota::Event& event);

class Watcher {
 public:
  /// Begins with the next event.
  explicit Watcher(const quota::EventRing& ring) : ring_(&ring), seen_(ring.newest()) {}

  /// Sends what there is and what the socket takes now; never waits. False: the subscriber is gone.
  [[nodiscard]] bool pump(int fd);
  /// It has not taken everything: to be pumped again when the socket has room.
  [[nodiscard]] bool waits() const { return !unsent_.empty(); }

 private:
  void look_up();

  const quota::EventRing* ring_;
  std::uint64_t seen_;
  std::string unsent_;
};

}  // namespace troot::fusefs
