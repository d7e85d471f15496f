#include "ckernels.h"

const char *ck_status_message(ck_status status) {
  switch (status) {
    case CK_OK: return "done";
    case CK_SINGULAR: return "the matrix is singular at working precision";
    case CK_NOT_FINITE: return "an input is not finite";
    case CK_BAD_VARIANT: return "no such kernel variant on this processor";
  }
  return "unknown status";
}
