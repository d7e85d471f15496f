/* Counts the calls of malloc and its kin on a thread, by standing before the C library's in this executable. */
#ifndef ALLOCATION_COUNTING_H
#define ALLOCATION_COUNTING_H

/* Whether calls are counted here: with glibc, and without a sanitizer that does the same. */
int allocation_counting_works(void);
/* Begins to count the calling thread's. */
void allocation_counting_start(void);
/* Ends it, and gives their number. */
long allocation_counting_stop(void);

#endif
