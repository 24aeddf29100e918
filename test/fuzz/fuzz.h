/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a fuzz target is: one function.  With --enable-fuzzers libFuzzer calls
 * it, else replay_main.c does, over the target's corpus.
 *
 * A new target: fuzz_NAME.c with this function, four lines in local.mk, and at least one
 * input in corpus/fuzz_NAME/.
 */
#ifndef LUNGATE_TEST_FUZZ_FUZZ_H
#define LUNGATE_TEST_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/** Always 0; what is wrong aborts. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/** For targets that keep something from input to input: a sum of all that the last one was answered.  It must not
 *  depend on what ran before, and replay_main.c holds them to that. */
uint32_t fuzz_outcome(void) __attribute__((weak));

#endif
