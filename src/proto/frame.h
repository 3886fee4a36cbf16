// SPDX-License-Identifier: Apache-2.0
/*
 * Frames and fields of proto/agent.h: encoding and bounded decoding, without allocation and without
 * I/O. Host and guest compile this file.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "proto/agent.h"

/* Largest payload a frame of this type may carry; -EPROTO for a type that does not exist. */
int64_t frame_limit(uint16_t type);

/* Looks for a whole frame at the start of `data`. Returns the bytes it takes in all (head and
 * payload) with *ret set and *ret_payload pointing into data; 0 when more bytes are needed;
 * -EPROTO when the head is impossible (unknown type, payload over its limit). */
int64_t frame_decode(
	const void *data, size_t bytes, struct agent_frame *ret, const uint8_t **ret_payload);

/* Writes a head for `bytes` bytes of payload. */
void frame_head(struct agent_frame *out, uint16_t type, uint32_t bytes);

/* Takes the next field out of a payload: *at is advanced. Returns 1 with *ret set (its bytes at
 * *ret_data), 0 at the end, -EPROTO when the field runs past the end. */
int frame_next_field(
	const uint8_t **at, const uint8_t *end, struct agent_field *ret, const uint8_t **ret_data);

/* Appends a field at *at if it fits before end. Returns 0 or -E2BIG. */
int frame_put_field(uint8_t **at, const uint8_t *end, uint16_t tag, const void *data, size_t bytes);
