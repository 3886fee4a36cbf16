// SPDX-License-Identifier: Apache-2.0
/* snapshot.json as a stranger may have written it: every member wrong in its own way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/snapshot_json.h"

#define ID  "0123456789abcdef0123456789abcdef"
#define SHA "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static const char good[] =
	"{\"format\":1,\"product\":\"0.1.0\",\"architecture\":\"x86_64\",\"id\":\"" ID "\","
	"\"created\":1,\"wall_ns\":2,\"pause_us\":3,\"memory_bytes\":67108864,\"vcpus\":2,"
	"\"disk_bytes\":67108864,\"tmpfs_bytes\":0,\"cmdline\":\"a=b\","
	"\"kernel\":{\"path\":\"/vmlinux\",\"bytes\":1,\"mtime_ns\":2,\"inode\":3},"
	"\"image\":{\"reference\":\"alpine\",\"manifest\":\"" SHA "\",\"os\":\"linux\","
	"\"architecture\":\"amd64\",\"variant\":\"\",\"layers\":[{\"digest\":\"" SHA
	"\",\"bytes\":5}],\"config\":{\"env\":[\"A=b\"],\"entrypoint\":[],\"cmd\":[\"sh\"],"
	"\"exposed_ports\":[\"80/tcp\"],\"user\":\"nobody\"}},"
	"\"devices\":[\"vsock\",\"rng\",\"balloon\",\"layer0\",\"root\"],"
	"\"files\":{\"state\":{\"bytes\":10,\"data_bytes\":10,\"checksum\":\"00000000000000ff\"},"
	"\"memory\":{\"bytes\":67108864,\"data_bytes\":4096,\"checksum\":\"0000000000000001\"},"
	"\"disk\":{\"bytes\":67108864,\"data_bytes\":0,\"checksum\":\"0000000000000002\"}},"
	"\"commands\":[{\"pid\":7,\"command\":\"nginx\"}],"
	"\"listeners\":[{\"port\":80,\"family\":4,\"is_loopback\":0,\"address\":"
	"\"00000000000000000000000000000000\"}]}";

static int decode(const char *text, struct snapshot **ret, struct err *e)
{
	*e = (struct err){0};
	*ret = NULL;
	return snapshot_decode(text, strlen(text), ret, e);
}

static void good_is_read_and_written(void **state)
{
	struct snapshot *s, *again;
	struct err e;
	char *text, *second;

	(void)state;
	if (decode(good, &s, &e) < 0)
		fail_msg("%s: %s", e.object, e.cause);
	assert_int_equal(s->machine.vcpus, 2);
	assert_int_equal(s->state.checksum, 0xff);
	assert_string_equal(s->image->config.cmd.items[0], "sh");
	assert_string_equal(s->image->config.user, "nobody");
	assert_string_equal(s->commands[0].name, "nginx");
	assert_int_equal(s->listeners[0].port, 80);
	assert_int_equal(snapshot_encode(s, &text, &e), 0);
	assert_int_equal(decode(text, &again, &e), 0);
	assert_int_equal(snapshot_encode(again, &second, &e), 0);
	assert_string_equal(text, second);
	snapshot_free(s);
	snapshot_free(again);
	free(text);
	free(second);
}

/* Replaces the only occurrence of `what`. */
static char *mutated(const char *what, const char *with)
{
	const char *at = strstr(good, what);
	char *out = malloc(sizeof(good) + strlen(with) + 1);

	if (!at || strstr(at + 1, what))
		fail_msg("\"%s\" is not there once", what);
	memcpy(out, good, (size_t)(at - good));
	sprintf(out + (at - good), "%s%s", with, at + strlen(what));
	return out;
}

static const struct {
	const char *what, *with, *word;
	int code;
} cases[] = {
	{"\"format\":1", "\"format\":2", "format 2", -ENOTSUP},
	{"\"format\":1", "\"format\":-1", "number", -EBADMSG},
	{"\"format\":1,", "", "missing", -EBADMSG},
	{"{\"format\"", "[{\"format\"", "JSON", -EBADMSG},
	{"\"created\":1", "\"created\":1,\"created\":1", "duplicate", -EBADMSG},
	{"\"id\":\"0", "\"id\":\"G", "32 hexadecimal", -EBADMSG},
	{"\"id\":\"0", "\"id\":\"", "32 hexadecimal", -EBADMSG},
	{"\"product\":\"0.1.0\"", "\"product\":\"0.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0\"", "longer",
		-EBADMSG},
	{"\"memory_bytes\":67108864", "\"memory_bytes\":0", "no VM has", -EBADMSG},
	{"\"memory_bytes\":67108864", "\"memory_bytes\":67108865", "no VM has", -EBADMSG},
	{"\"memory_bytes\":67108864", "\"memory_bytes\":9223372036854775807", "more than",
		-EBADMSG},
	{"\"memory_bytes\":67108864", "\"memory_bytes\":9223372036854775808", "JSON", -EBADMSG},
	{"\"memory_bytes\":67108864", "\"memory_bytes\":134217728", "size of the machine",
		-EBADMSG},
	{"\"memory_bytes\":67108864", "\"memory_bytes\":\"67108864\"", "number", -EBADMSG},
	{"\"vcpus\":2", "\"vcpus\":0", "is 0", -EBADMSG},
	{"\"vcpus\":2", "\"vcpus\":17", "more than 16", -EBADMSG},
	{"\"vcpus\":2", "\"vcpus\":2.5", "number", -EBADMSG},
	{"\"disk_bytes\":67108864", "\"disk_bytes\":4096", "no VM's disk", -EBADMSG},
	{"\"disk_bytes\":67108864", "\"disk_bytes\":0", "names 5 devices", -EBADMSG},
	{"\"cmdline\":\"a=b\"", "\"cmdline\":7", "string", -EBADMSG},
	{"\"kernel\":{", "\"kernel\":7,\"x\":{", "object", -EBADMSG},
	{"\"image\":{", "\"picture\":{", "missing", -EBADMSG},
	{"\"reference\":\"alpine\",", "", "missing", -EBADMSG},
	{"\"digest\":\"sha256:a", "\"digest\":\"sha256:g", "is not one", -EBADMSG},
	{"\"digest\":\"sha256:a", "\"digest\":\"../../../../etc/passwd:a", "longer", -EBADMSG},
	{"[{\"digest\":", "[7,{\"digest\":", "not an object", -EBADMSG},
	{"\"bytes\":5}", "\"bytes\":-5}", "number", -EBADMSG},
	{"\"env\":[\"A=b\"]", "\"env\":[7]", "not a string", -EBADMSG},
	{"\"env\":[\"A=b\"]", "\"env\":\"A=b\"", "array", -EBADMSG},
	{"\"config\":{", "\"other\":{", "missing", -EBADMSG},
	{"\"rng\",\"balloon\"", "\"balloon\",\"rng\"", "device 1 is \"balloon\"", -EBADMSG},
	{"\"root\"]", "\"root\",\"net\"]", "names 6 devices", -EBADMSG},
	{",\"root\"]", "]", "device 4 is \"\"", -EBADMSG},
	{"\"layer0\"", "7", "device 3 is \"\"", -EBADMSG},
	{"\"files\":{", "\"fils\":{", "missing", -EBADMSG},
	{"\"state\":{\"bytes\":10,", "\"state\":{\"bytes\":0,", "more data", -EBADMSG},
	{"\"state\":{\"bytes\":10,", "\"state\":{\"bytes\":16777217,", "more than", -EBADMSG},
	{"\"memory\":{\"bytes\":67108864", "\"memory\":{\"bytes\":67108860", "size of the machine",
		-EBADMSG},
	{"\"disk\":{\"bytes\":67108864", "\"disk\":{\"bytes\":4096", "size of the machine",
		-EBADMSG},
	{"\"checksum\":\"0000000000000001\"", "\"checksum\":\"1\"", "16 hexadecimal", -EBADMSG},
	{"\"checksum\":\"0000000000000001\"", "\"checksum\":\"000000000000000X\"", "16 hexadecimal",
		-EBADMSG},
	{"\"files\":{", "\"base\":{},\"files\":{", "missing", -EBADMSG},
	{"\"files\":{", "\"base\":{\"id\":\"" ID "\"},\"files\":{", "where it is", -EBADMSG},
	{"\"pid\":7", "\"pid\":4294967296", "more than", -EBADMSG},
	{"\"commands\":[", "\"commands\":[[],", "not an object", -EBADMSG},
	{"\"family\":4", "\"family\":5", "address", -EBADMSG},
	{"\"port\":80", "\"port\":65536", "more than", -EBADMSG},
	{"\"is_loopback\":0", "\"is_loopback\":2", "more than", -EBADMSG},
	{"\"0000000000000000000000000000000", "\"z000000000000000000000000000000", "address",
		-EBADMSG},
};

static void each_mutation_is_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *text = mutated(cases[i].what, cases[i].with);
		struct snapshot *s;
		struct err e;
		int r = decode(text, &s, &e);

		if (r != cases[i].code || e.code != r || !strstr(e.cause, cases[i].word) ||
			!e.remedy[0] || strcmp(e.object, "snapshot.json"))
			fail_msg("%zu: %s: %d: %s: %s", i, cases[i].with, r, e.object, e.cause);
		assert_null(s);
		free(text);
	}
}

/* Every prefix is an error and every flipped bit is one or another snapshot: never a crash. */
static void prefixes_and_flips(void **state)
{
	char text[sizeof(good)];
	struct snapshot *s;
	struct err e;

	(void)state;
	for (size_t n = 0; n < sizeof(good) - 1; n++)
		assert_true(snapshot_decode(good, n, &s, &e) < 0);
	for (size_t n = 0; n < (sizeof(good) - 1) * 8; n++) {
		memcpy(text, good, sizeof(text));
		text[n / 8] ^= (char)(1 << n % 8);
		if (snapshot_decode(text, sizeof(text) - 1, &s, &e) == 0)
			snapshot_free(s);
	}
}

static void counts_are_bounded(void **state)
{
	json_t *j = json_loads(good, 0, NULL), *commands = json_object_get(j, "commands");
	struct snapshot *s;
	struct err e;
	char *text;

	(void)state;
	while (json_array_size(commands) <= COMMANDS_MAX)
		json_array_append_new(commands, json_pack("{s:i, s:s}", "pid", 1, "command", "x"));
	text = json_dumps(j, 0);
	assert_int_equal(decode(text, &s, &e), -EBADMSG);
	assert_non_null(strstr(e.cause, "257 entries"));
	free(text);
	json_decref(j);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_is_read_and_written),
		cmocka_unit_test(each_mutation_is_refused),
		cmocka_unit_test(prefixes_and_flips),
		cmocka_unit_test(counts_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
