// Catch2's header, under the name it has in the version at hand.
#pragma once
#ifdef TROOT_CATCH3
#include <catch2/catch_all.hpp>
#else
#include <catch2/catch.hpp>
#endif
