// One request, from its bytes to libfuse.
#include "fusefs/serve/serving.h"

#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>

namespace troot::fusefs {

void Serving::serve(const RequestInfo& info, std::span<const std::byte> request,
                    std::atomic<std::uint64_t>* progress) noexcept {
  counts_.count(info.opcode);
  if (info.sink != nullptr) counts_.count_ring();
  if (progress) {
    progress->fetch_add(1);
    bell_.ring_if_asleep();
  }
  {
    const ServingRequest serving(info);
    fuse_buf buffer{};
    buffer.size = request.size();
    // The bytes are ours: they lie in a buffer of this server. libfuse does not write to them.
    auto* const bytes = const_cast<std::byte*>(request.data());
    show_as_known(info, {bytes, request.size()});
    buffer.mem = bytes;
    ::fuse_session_process_buf(session_, &buffer);
  }
  if (kind_of(info) == RequestKind::kForget) forgets_.count_request();
  if (progress) progress->fetch_add(1);
}

}  // namespace troot::fusefs
