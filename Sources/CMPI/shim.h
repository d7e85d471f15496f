// What Swift can't see of mpi.h, whose constants are casts.
#ifndef AIPO_MPI_SHIM_H
#define AIPO_MPI_SHIM_H

#include <mpi.h>

static inline MPI_Comm aipo_mpi_world(void) { return MPI_COMM_WORLD; }
// Errors come back as codes rather than end the process.
static inline int aipo_mpi_return_errors(void) {
  return MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
}

// A transfer under way: a pointer or a number, as the library has it.
typedef struct {
  MPI_Request request;
} AipoTransfer;

static inline int aipo_mpi_send(const void *bytes, int count, int rank, AipoTransfer *transfer) {
  return MPI_Isend(bytes, count, MPI_BYTE, rank, 0, MPI_COMM_WORLD, &transfer->request);
}

static inline int aipo_mpi_receive(void *bytes, int count, int rank, AipoTransfer *transfer) {
  return MPI_Irecv(bytes, count, MPI_BYTE, rank, 0, MPI_COMM_WORLD, &transfer->request);
}

static inline int aipo_mpi_test(AipoTransfer *transfer, int *done) {
  return MPI_Test(&transfer->request, done, MPI_STATUS_IGNORE);
}

// Ranks on this machine.
static inline int aipo_mpi_neighbours(void) {
  MPI_Comm machine;
  int count = 1;
  if (MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &machine) == MPI_SUCCESS) {
    MPI_Comm_size(machine, &count);
    MPI_Comm_free(&machine);
  }
  return count;
}

#endif
