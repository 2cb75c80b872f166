// What it proves: how many threads with a ring there are on machines of any size, and when none.
#include "fusefs/serve/ring_plan.h"

#include <numeric>
#include <string>
#include <vector>

#include "unit/catch.h"

using namespace troot::fusefs;

namespace {

CpuReport machine(const std::string& possible, const std::string& online, std::size_t digits) {
  return {possible + "\n", online + "\n", "\t" + std::string(digits, 'f')};
}

}  // namespace

TEST_CASE("threads of the rings on small and large machines") {
  const auto two = plan_rings(machine("0-1", "0-1", 1), {});
  REQUIRE(two);
  CHECK(two->threads == std::vector<unsigned>{2, 2});
  // Requests that hang have hundreds of threads beside those, however many processors there are.
  for (const unsigned cpus : {1u, 64u, 256u, 1024u}) {
    const std::string all = "0-" + std::to_string(cpus - 1);
    const auto plan =
        plan_rings(machine(cpus == 1 ? "0" : all, cpus == 1 ? "0" : all, (cpus + 3) / 4), {});
    REQUIRE(plan);
    CHECK(plan->threads == std::vector<unsigned>(cpus, 2));
    CHECK(plan->most == 2 * cpus + 512);
  }
  // A virtual machine that may be given more processors: the absent ones have one thread each.
  const auto virtual_machine = plan_rings(machine("0-255", "0-3,8", 64), {});
  REQUIRE(virtual_machine);
  CHECK(virtual_machine->online == std::vector<unsigned>{0, 1, 2, 3, 8});
  CHECK(virtual_machine->threads.size() == 256);
  CHECK(std::accumulate(virtual_machine->threads.begin(), virtual_machine->threads.end(), 0u) ==
        261);
  CHECK(virtual_machine->threads[8] == 2);
  CHECK(virtual_machine->threads[4] == 1);

  // What threads= allows is kept: one for each queue first, then a second one where there is room.
  const auto few = plan_rings(machine("0-3", "0-3", 1), 6);
  REQUIRE(few);
  CHECK(few->threads == std::vector<unsigned>{2, 2, 1, 1});
  CHECK(few->most == 6);
  const auto too_few = plan_rings(machine("0-3", "0-3", 1), 3);
  REQUIRE(!too_few);
  CHECK(too_few.error() ==
        "it takes a thread for each of 4 possible processors, and one more; threads= allows 4");

  // Where the two sources differ nobody knows how many queues there are: no rings, since one too
  // few would hang the mount.
  CHECK(!plan_rings(machine("0-3", "0-3", 2), {}));
  CHECK(!plan_rings(machine("0-7", "0-3", 1), {}));
  CHECK(!plan_rings(machine("1-4", "1-4", 1), {}));
  CHECK(!plan_rings(machine("0-3", "0-4", 1), {}));
  CHECK(!plan_rings(machine("0-3", "", 1), {}));
  CHECK(!plan_rings({}, {}));
  CHECK(plan_rings({"0-63", "0-63", "\tffffffff,ffffffff"}, {}));
}
