# Run at every build: writes OUTPUT from TEMPLATE with the version and the git revision. The file is touched only when
# its content changes, so nothing but version.cpp is compiled again after a commit.

set(VPD_GIT_REVISION "unknown")
find_package(Git QUIET)
if(Git_FOUND)
  execute_process(COMMAND "${GIT_EXECUTABLE}" rev-parse HEAD WORKING_DIRECTORY "${SOURCE_DIR}"
                  OUTPUT_VARIABLE revision OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
  if(NOT failed)
    execute_process(COMMAND "${GIT_EXECUTABLE}" diff-index --quiet HEAD -- WORKING_DIRECTORY "${SOURCE_DIR}"
                    ERROR_QUIET RESULT_VARIABLE changed)
    set(VPD_GIT_REVISION "${revision}")
    if(changed)
      string(APPEND VPD_GIT_REVISION "-modified")
    endif()
  endif()
endif()
configure_file("${TEMPLATE}" "${OUTPUT}" @ONLY)
