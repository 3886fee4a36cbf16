// SPDX-License-Identifier: Apache-2.0
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "api/newc.h"
#include "base/alloc.h"
#include "base/buf.h"
#include "base/fd.h"
#include "peer.h"
#include "proto/agent.h"
#include "proto/bootcfg.h"

enum {
	PART_ALIGN = 4, /* of the parts of an initramfs */
	ARCHIVE_MAX = 16 * 1024,
	ENTROPY_BYTES = 64,
	REQUEST_MAX = 4096,
	PATIENCE_MS = 120000,
};

/* ---- files */

/* Appends a file to a nameless one in memory: what is measured is no disk. */
static void append(int to, const char *path)
{
	autoclose int from = open(path, O_RDONLY | O_CLOEXEC);
	off_t at = lseek(to, 0, SEEK_END);
	struct stat st;

	if (from < 0 || fstat(from, &st) < 0)
		die("%s: %s", path, strerror(errno));
	(void)lseek(to, ALIGN_UP(at, (off_t)PART_ALIGN), SEEK_SET);
	for (off_t left = st.st_size; left > 0;) {
		ssize_t n = sendfile(to, from, NULL, (size_t)left);

		if (n <= 0)
			die("read %s: %s", path, strerror(errno));
		left -= n;
	}
}

int guest_load(const char *paths)
{
	autofree char *copy = strdup(paths);
	int fd = peer_fd(memfd_create("part", MFD_CLOEXEC), "memory file");
	char *rest = copy, *path;

	while ((path = strsep(&rest, ",")))
		append(fd, path);
	return fd;
}

void guest_append_boot_archive(int to)
{
	struct bootcfg c = {.n_layers = 1, .hostname = "bench"};
	char text[BOOTCFG_TEXT_MAX];
	autobuf struct buf archive;
	off_t at = lseek(to, 0, SEEK_END);
	int bytes = must(bootcfg_encode(&c, text, sizeof(text)), "boot configuration");

	buf_init(&archive, ARCHIVE_MAX);
	if (newc_add_file(&archive, &BOOTCFG_PATH[1], text, (size_t)bytes) < 0 ||
		newc_end(&archive) < 0 ||
		fd_pwrite_full(to, archive.data, archive.bytes, ALIGN_UP(at, (off_t)PART_ALIGN)) <
			0)
		die("cannot write the boot archive");
}

/* ---- frames */

/* A request as it goes out: the greeting, then one frame. */
struct outgoing {
	size_t bytes;
	char data[REQUEST_MAX];
};

static void put(struct outgoing *o, const void *data, size_t bytes)
{
	if (bytes > sizeof(o->data) - o->bytes)
		die("a request is too long");
	memcpy(o->data + o->bytes, data, bytes);
	o->bytes += bytes;
}

static void put_frame(struct outgoing *o, unsigned type, const void *payload, size_t bytes)
{
	struct agent_frame head = {(uint32_t)bytes, (uint16_t)type, 0};

	put(o, &head, sizeof(head));
	put(o, payload, bytes);
}

static void put_field(struct outgoing *o, unsigned tag, const void *value, size_t bytes)
{
	struct agent_field head = {(uint32_t)bytes, (uint16_t)tag, 0};

	put(o, &head, sizeof(head));
	put(o, value, bytes);
}

static void put_hello(struct outgoing *o)
{
	struct agent_hello hello = {AGENT_VERSION, 0};

	put_frame(o, AGENT_HELLO, &hello, sizeof(hello));
}

/* Reads frames until one of that type; leaves its payload, which has at most `room` bytes, in out.
 */
static int await(int fd, unsigned type, void *out, size_t room)
{
	struct agent_frame frame;
	char payload[REQUEST_MAX];
	int r;

	do {
		r = fd_read_full(fd, &frame, sizeof(frame));
		if (r < 0)
			return r;
		if (frame.bytes > sizeof(payload))
			die("the agent says something else");
		r = fd_read_full(fd, payload, frame.bytes);
		if (r < 0)
			return r;
		if (frame.type == AGENT_FAILED && frame.bytes == sizeof(struct agent_failed))
			die("the agent refuses: %.240s", ((struct agent_failed *)payload)->cause);
	} while (frame.type != type);
	memcpy(out, payload, MIN((size_t)frame.bytes, room));
	return 0;
}

/* ---- calls */

int guest_listen(void)
{
	struct sockaddr_vm here = {
		.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = AGENT_EVENT_PORT};
	int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (const struct sockaddr *)&here, sizeof(here)) < 0 ||
		listen(fd, 1) < 0)
		die("listen on vsock port %d: %s", AGENT_EVENT_PORT, strerror(errno));
	return fd;
}

int guest_accept_ready(int listener)
{
	struct pollfd ready = {.fd = listener, .events = POLLIN};
	int fd;

	if (poll(&ready, 1, PATIENCE_MS) != 1)
		die("the agent does not call from QEMU's guest");
	fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (fd < 0)
		die("accept: %s", strerror(errno));
	guest_await_ready(fd);
	return fd;
}

void guest_await_ready(int fd)
{
	struct outgoing o = {0};

	put_hello(&o);
	must(fd_write_full(fd, o.data, o.bytes), "greet the agent");
	must(await(fd, AGENT_READY, NULL, 0), "hear the agent");
}

int guest_connect(unsigned cid)
{
	struct sockaddr_vm there = {.svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = AGENT_PORT};
	autoclose int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (const struct sockaddr *)&there, sizeof(there)) < 0)
		return -errno;
	return take_fd(&fd);
}

void guest_freeze(int fd)
{
	struct outgoing o = {0};

	put_hello(&o);
	put_frame(&o, AGENT_FREEZE, NULL, 0);
	must(fd_write_full(fd, o.data, o.bytes), "ask the agent to freeze");
	must(await(fd, AGENT_DONE, NULL, 0), "freeze");
}

int guest_resume(int fd)
{
	struct outgoing o = {0}, fields = {0};
	char entropy[ENTROPY_BYTES];
	struct agent_resumed done = {0};
	struct agent_clock clock;
	struct timespec now;
	int r;

	if (getrandom(entropy, sizeof(entropy), 0) != sizeof(entropy))
		die("getrandom: %s", strerror(errno));
	clock_gettime(CLOCK_REALTIME, &now);
	clock = (struct agent_clock){(uint64_t)now.tv_sec, (uint32_t)now.tv_nsec, 0};
	put_field(&fields, AGENT_R_ENTROPY, entropy, sizeof(entropy));
	put_field(&fields, AGENT_R_CLOCK, &clock, sizeof(clock));
	put_hello(&o);
	put_frame(&o, AGENT_RESUME, fields.data, fields.bytes);
	r = fd_write_full(fd, o.data, o.bytes);
	if (r == 0)
		r = await(fd, AGENT_RESUMED, &done, sizeof(done));
	if (r == 0 && done.did != AGENT_DID_ALL)
		die("the guest has resumed by halves: %x", done.did);
	return r;
}

void guest_exec_true(int fd)
{
	static const char path[] = "PATH=/bin", program[] = "/bin/busybox", word[] = "true";
	struct outgoing o = {0}, fields = {0};
	struct agent_exit ended = {0};
	uint32_t flags = 0;

	put_field(&fields, AGENT_ARG, program, sizeof(program) - 1);
	put_field(&fields, AGENT_ARG, word, sizeof(word) - 1);
	put_field(&fields, AGENT_ENV, path, sizeof(path) - 1);
	put_field(&fields, AGENT_FLAGS, &flags, sizeof(flags));
	put_hello(&o);
	put_frame(&o, AGENT_EXEC, fields.data, fields.bytes);
	must(fd_write_full(fd, o.data, o.bytes), "ask the agent to run a command");
	must(await(fd, AGENT_EXIT, &ended, sizeof(ended)), "run a command");
	if (ended.status != 0)
		die("true ended with status %d", ended.status);
}
