# cmake -DPAGE=page.html -DOUT=page.cpp -P embed_page.cmake
# The page as C++, with the hashes of its only <script> and <style> as Content-Security-Policy wants them.

# The SHA-256 of `text`, in base64.
function(base64_sha256 out text)
  set(alphabet ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/)
  string(SHA256 hex "${text}")
  set(result "")
  foreach(at RANGE 0 63 6)  # three bytes are four letters; of 32 bytes the last two are three and a '='
    string(SUBSTRING "${hex}0000" ${at} 6 part)
    math(EXPR bits "0x${part}")
    foreach(shift 18 12 6 0)
      math(EXPR index "(${bits} >> ${shift}) & 63")
      string(SUBSTRING ${alphabet} ${index} 1 letter)
      string(APPEND result ${letter})
    endforeach()
  endforeach()
  string(SUBSTRING ${result} 0 43 result)
  set(${out} "${result}=" PARENT_SCOPE)
endfunction()

# What stands between <tag> and </tag>.
function(content_of out page tag)
  string(LENGTH "<${tag}>" skip)
  string(FIND "${page}" "<${tag}>" begin)
  string(FIND "${page}" "</${tag}>" end)
  if(begin EQUAL -1 OR end EQUAL -1)
    message(FATAL_ERROR "${PAGE} has no <${tag}>")
  endif()
  math(EXPR begin "${begin} + ${skip}")
  math(EXPR length "${end} - ${begin}")
  string(SUBSTRING "${page}" ${begin} ${length} content)
  set(${out} "${content}" PARENT_SCOPE)
endfunction()

file(READ ${PAGE} page)
foreach(tag script style)
  content_of(content "${page}" ${tag})
  base64_sha256(${tag}_sha256 "${content}")
endforeach()
file(WRITE ${OUT} "#include \"web/page.hpp\"

namespace pgproxy::web {

const std::string_view page_html = R\"~page~(${page})~page~\";
const std::string_view page_script_sha256 = \"${script_sha256}\";
const std::string_view page_style_sha256 = \"${style_sha256}\";

}  // namespace pgproxy::web
")
