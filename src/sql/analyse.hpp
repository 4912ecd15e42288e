#pragma once

#include "pgproxy/sql/facts.hpp"

namespace pgproxy::sql {

/// Of what cannot be parsed: it may do anything.
Facts unknown_facts();

}  // namespace pgproxy::sql
