#pragma once

#include <string_view>

// Made by cmake/embed_page.cmake out of page.html.
namespace pgproxy::web {

extern const std::string_view page_html;
/// Base64, for a Content-Security-Policy that allows nothing but the page's own script and style.
extern const std::string_view page_script_sha256;
extern const std::string_view page_style_sha256;

}  // namespace pgproxy::web
