#pragma once

#include <string_view>

namespace vpd {

/// The page's own files and D3, as they were when the library was built.
struct ReportAssets {
  std::string_view page;    ///< page.html: {{...}} stand for the rest
  std::string_view style;   ///< style.css
  std::string_view script;  ///< all of ours, in order
  std::string_view d3;      ///< empty: the library was built without it
  std::string_view d3_licence;
};
ReportAssets report_assets();

}  // namespace vpd
