// SPDX-License-Identifier: Apache-2.0
#include "proto/frame.h"

#include <errno.h>
#include <string.h>

enum { AWAIT_MAX = 4096 }; /* PATH_MAX: a path with its end */

int64_t frame_limit(uint16_t type)
{
	switch (type) {
	case AGENT_HELLO:
		return sizeof(struct agent_hello);
	case AGENT_FAILED:
		return sizeof(struct agent_failed);
	case AGENT_EXEC:
		return AGENT_REQUEST_MAX;
	case AGENT_SHUTDOWN:
		return sizeof(struct agent_shutdown);
	case AGENT_STDIN:
	case AGENT_STDOUT:
	case AGENT_STDERR:
	case AGENT_RESUME:
		return AGENT_FRAME_MAX;
	case AGENT_AWAIT:
		return sizeof(struct agent_field) + AWAIT_MAX;
	case AGENT_SIGNAL:
	case AGENT_ATTACH:
	case AGENT_STARTED:
	case AGENT_STDIN_TAKEN:
		return sizeof(struct agent_u32);
	case AGENT_EXIT:
		return sizeof(struct agent_exit);
	case AGENT_RESUMED:
		return sizeof(struct agent_resumed);
	case AGENT_LISTENING:
		return sizeof(struct agent_listener);
	case AGENT_FREEZE:
	case AGENT_THAW:
	case AGENT_SYNC:
	case AGENT_STDIN_CLOSE:
	case AGENT_DONE:
	case AGENT_READY:
		return 0;
	default:
		return -EPROTO;
	}
}

int64_t frame_decode(
	const void *data, size_t bytes, struct agent_frame *ret, const uint8_t **ret_payload)
{
	struct agent_frame head;
	int64_t limit;

	if (bytes < sizeof(head))
		return 0;
	memcpy(&head, data, sizeof(head));
	limit = frame_limit(head.type);
	if (limit < 0 || head.bytes > limit)
		return -EPROTO;
	if (bytes - sizeof(head) < head.bytes)
		return 0;
	*ret = head;
	*ret_payload = (const uint8_t *)data + sizeof(head);
	return (int64_t)sizeof(head) + head.bytes;
}

void frame_head(struct agent_frame *out, uint16_t type, uint32_t bytes)
{
	*out = (struct agent_frame){.bytes = bytes, .type = type};
}

int frame_next_field(
	const uint8_t **at, const uint8_t *end, struct agent_field *ret, const uint8_t **ret_data)
{
	struct agent_field field;
	size_t left = (size_t)(end - *at);

	if (!left)
		return 0;
	if (left < sizeof(field))
		return -EPROTO;
	memcpy(&field, *at, sizeof(field));
	if (field.bytes > left - sizeof(field))
		return -EPROTO;
	*ret = field;
	*ret_data = *at + sizeof(field);
	*at += sizeof(field) + field.bytes;
	return 1;
}

int frame_put_field(uint8_t **at, const uint8_t *end, uint16_t tag, const void *data, size_t bytes)
{
	struct agent_field field = {.bytes = (uint32_t)bytes, .tag = tag};
	size_t left = (size_t)(end - *at);

	if (left < sizeof(field) || bytes > left - sizeof(field))
		return -E2BIG;
	memcpy(*at, &field, sizeof(field));
	if (bytes)
		memcpy(*at + sizeof(field), data, bytes);
	*at += sizeof(field) + bytes;
	return 0;
}
