// The list of fuzz targets.
#include <array>

#include "fuzz/target.h"

namespace troot::fuzz {

std::span<const Target> targets() {
  static constexpr std::array kTargets{
      Target{"override_stat", override_stat},
      Target{"project", project},
      Target{"ranges", ranges},
      Target{"redirect", redirect},
      Target{"origin", origin},
      Target{"index", index},
      Target{"link_record", link_record},
      Target{"acl", acl},
      Target{"kernel_index", kernel_index},
      Target{"numbers", numbers},
      Target{"ledger", ledger},
      Target{"journal", journal},
      Target{"limits", limits},
      Target{"options", options},
      Target{"control", control},
      Target{"request", request},
      Target{"projects", projects},
      Target{"subids", subids},
      Target{"world", world},
      Target{"layer", layer},
      Target{"image", image},
      Target{"tar_layer", tar_layer},
      Target{"tar_rootfs", tar_rootfs},
      Target{"frame", frame},
      Target{"image_config", image_config},
      Target{"oci_layout", oci_layout},
      Target{"docker_archive", docker_archive},
      Target{"image_tar", image_tar},
      Target{"mounts", mounts},
      Target{"amounts", amounts},
  };
  return kTargets;
}

}  // namespace troot::fuzz
