#include <doctest/doctest.h>

#include "world.hpp"
