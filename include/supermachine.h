// SPDX-License-Identifier: Apache-2.0
/*
 * supermachine: run OCI images as hardware-isolated microVMs.
 *
 *	struct sm_image *image; struct sm_vm *vm; struct sm_output out; struct sm_error err;
 *
 *	sm_image_open(NULL, "oci:./busybox", NULL, &image, &err);
 *	sm_vm_start(image, NULL, &vm, &err);
 *	sm_exec_output(vm, (const char *const[]){"uname", "-a", NULL}, NULL, &out, &err);
 *	sm_vm_stop(vm, NULL, &err);
 *
 * Conventions, for every function unless it says otherwise:
 * - Returns 0 (or a count) on success and a negative enum sm_code on failure; outputs are then
 *   untouched and *err, if err is not NULL, says what failed, on which object, why, and what to do.
 * - Option structs may be NULL, which means good defaults. Otherwise set the whole struct to zero
 *   and `size` to sizeof it (SM_INIT does both); a zero field means its default.
 * - Pointers given in are borrowed for the call. Handles are closed once, by their owner; closing
 *   NULL is allowed.
 * - Handles may be used from several threads at once; only closing must be the last use. There is
 *   no global state; no signal handler is installed; SIGPIPE is never raised; children of the
 *   caller are never reaped. A VM is one child process and ends with the process that started it.
 * - Strings are UTF-8, sizes are bytes, times are milliseconds; a time-out of -1 is "never", 0 is
 *   "do not wait".
 */
#ifndef SUPERMACHINE_H
#define SUPERMACHINE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SM_API __attribute__((visibility("default")))

#define SM_VERSION_MAJOR 0
#define SM_VERSION_MINOR 1
#define SM_VERSION_PATCH 0
#define SM_VERSION	 "0.1.0"

/* Starts an option struct: struct sm_vm_options o = SM_INIT(o); */
#define SM_INIT(o)                                                                                 \
	{                                                                                          \
		.size = sizeof(o)                                                                  \
	}

/* The version of the library that runs, "0.1.0". Never fails. */
SM_API const char *sm_version(void);

/* ---- errors ------------------------------------------------------------------------------- */

enum sm_code {
	SM_E_INVALID = -1,     /* an argument, option or input file makes no sense */
	SM_E_NOT_FOUND = -2,   /* image, file, command or VM does not exist */
	SM_E_DENIED = -3,      /* no permission */
	SM_E_CORRUPT = -4,     /* bytes are not what their digest or format promises */
	SM_E_UNSUPPORTED = -5, /* well-formed, but not something this version can do */
	SM_E_NO_SPACE = -6,    /* disk full or quota */
	SM_E_NO_MEMORY = -7,
	SM_E_HYPERVISOR = -8, /* KVM is missing, not usable, or refused something */
	SM_E_GUEST = -9,      /* the guest misbehaved: panic, unexpected reset, protocol */
	SM_E_VM_GONE = -10,   /* the VM is no more; the cause says why */
	SM_E_TIMEOUT = -11,
	SM_E_BUSY = -12, /* somebody else holds it */
	SM_E_IO = -13,	 /* any other failure of the operating system */
	SM_E_EXEC = -14, /* the command was found in the image but could not be executed */
};

/* An error as data. Texts are terminated and empty when there is nothing to say. */
struct sm_error {
	enum sm_code code;
	int os_code;	  /* errno behind it, or 0 */
	char object[192]; /* what it befell */
	char cause[256];  /* why */
	char remedy[256]; /* what to do about it */
};

/* Writes "object: cause; remedy" into out, always terminated. */
SM_API void sm_error_sentence(const struct sm_error *err, char *out, size_t out_bytes);

/* ---- host --------------------------------------------------------------------------------- */

/* One finding of sm_host_check. */
struct sm_check {
	const char *name; /* "kvm", "kvm-guest", "kernel", … stable */
	int is_ok;
	int is_required;    /* VMs cannot run without it */
	const char *found;  /* what was seen */
	const char *remedy; /* what to do; NULL when is_ok */
};

typedef void (*sm_check_fn)(const struct sm_check *check, void *context);

/* Examines whether this host can run VMs, calling `each` (may be NULL) for every finding. /dev/kvm
 * is not trusted for existing: a tiny 64-bit guest that uses SSE and cmpxchg16b is run on it, since
 * there are software KVMs that create VMs and cannot run Linux. Takes about 2 ms. Returns 0 when
 * VMs can run, SM_E_HYPERVISOR, SM_E_DENIED or SM_E_NOT_FOUND with the first reason otherwise. */
SM_API int sm_host_check(sm_check_fn each, void *context, struct sm_error *err);

/* ---- images ------------------------------------------------------------------------------- */

struct sm_image;

enum sm_progress_stage {
	SM_PROGRESS_LAYER = 1, /* a layer is being read, verified and converted */
	SM_PROGRESS_LAYER_DONE,
};

struct sm_progress {
	enum sm_progress_stage stage;
	const char *object; /* digest */
	uint64_t done_bytes;
	uint64_t total_bytes; /* 0: not known */
};

struct sm_image_options {
	size_t size;
	const char *platform; /* "linux/amd64"; default: the host's */
	/* Called on the calling thread while layers are converted. */
	void (*progress)(const struct sm_progress *progress, void *context);
	void *progress_context;
};

/* Opens an image, converting layers that the store lacks. `store` is the directory that holds
 * converted layers; NULL: $SUPERMACHINE_STORE, else $XDG_DATA_HOME/supermachine, else
 * ~/.local/share/supermachine. References: oci:DIR[:TAG], oci-archive:FILE[:TAG]. */
SM_API int sm_image_open(const char *store, const char *reference,
	const struct sm_image_options *options, struct sm_image **ret, struct sm_error *err);
SM_API void sm_image_close(struct sm_image *image);

/* What a listing says of a stored image. Pointers live as long as the callback or the handle. */
struct sm_image_info {
	size_t size;
	const char *reference;
	const char *digest;   /* of the manifest, "sha256:…" */
	const char *platform; /* "linux/amd64" */
	uint64_t layer_bytes; /* of the converted layers */
	unsigned n_layers;
	int64_t created_unix; /* seconds, as the image says; 0 when it does not */
	int exposes_ports; /* 1: it is a server, with TCP ports in its configuration; 0 in a listing
			    */
};

SM_API int sm_image_info(
	const struct sm_image *image, struct sm_image_info *ret, struct sm_error *err);

typedef void (*sm_image_fn)(const struct sm_image_info *info, void *context);

/* Calls `each` for every stored image, by reference. Returns how many. */
SM_API int sm_image_list(const char *store, sm_image_fn each, void *context, struct sm_error *err);

/* ---- virtual machines --------------------------------------------------------------------- */

struct sm_exec;
struct sm_exec_options;
struct sm_vm;

/* Which state of an image is baked, that is: booted once, snapshotted, and restored from then on.
 */
enum sm_ready {
	SM_READY_INIT = 0, /* the guest is up, nothing runs in it: any command can be run */
	SM_READY_LISTEN,   /* the workload listens on a TCP port (ready_port, 0: any) */
	SM_READY_EXEC,	   /* ready_text, a shell command, succeeds in the guest */
	SM_READY_FILE,	   /* ready_text, an absolute path, exists in the guest */
};

/* What a start does that takes long, and why; see sm_vm_options.notice. */
enum sm_notice_kind {
	SM_NOTICE_BAKE =
		1,	/* no baked state fits: the image is booted to make one; text says why */
	SM_NOTICE_WAIT, /* somebody else bakes the same: waiting for it */
	SM_NOTICE_COLD, /* booted without a snapshot, although one was wanted; text says why */
};

struct sm_notice {
	enum sm_notice_kind kind;
	const char *text; /* one line, lives as long as the call */
};

struct sm_vm_options {
	size_t size;
	uint64_t memory_bytes;	 /* 32 MiB … 1 TiB, default 512 MiB; rounded up to 2 MiB */
	unsigned vcpus;		 /* 1 … 16, default 1 */
	const char *kernel;	 /* ELF vmlinux or bzImage; default: the tuned one if built, else
				  * the distribution's. Modules are taken from modules.cpio beside it */
	const char *cmdline;	 /* appended to the kernel command line */
	const char *name;	 /* also the host name; default: made up */
	int64_t boot_timeout_ms; /* until the guest's agent answers; default 60 000 */
	char *failed_log;	 /* filled with the console's end (see sm_vm_logs) when the start
				  * fails and there is no VM to ask; NULL: not wanted */
	size_t failed_log_bytes;

	uint64_t disk_bytes; /* size of the sparse disk that takes the guest's writes; default 8 GiB
			      */
	uint64_t tmpfs_bytes; /* instead of a disk: at most so much of the guest's memory */

	int no_bake;	     /* 1: boot, do not look for a baked state nor make one; workload,
			      * readiness and warm-up are then left alone */
	enum sm_ready ready; /* the state to bake; other than SM_READY_INIT needs `workload` */
	const char *ready_text;
	uint16_t ready_port;
	int64_t ready_timeout_ms; /* until the workload is ready; default 60 000 */
	/* The command that runs when the baked state is ready, as for sm_exec_start with
	 * is_entrypoint; it is part of the baked state. Its streams are got by sm_vm_attach. */
	const char *const *workload; /* argv; may be empty; NULL with SM_READY_INIT */
	const struct sm_exec_options *workload_options; /* env, cwd, user, entrypoint; NULL: none */
	/* Run in the guest (by /bin/sh -c) before the state is snapshotted; must succeed. */
	const char *warmup;
	/* Instead or as well: called with the VM before it is snapshotted; other than 0 gives the
	 * start up. `warmup_key` names what it does: another name, another baked state. */
	int (*on_warmup)(struct sm_vm *vm, void *context);
	const char *warmup_key;

	void (*notice)(const struct sm_notice *notice, void *context);
	void *context; /* of notice and on_warmup */

	/* This VM is clone `clone_index` of `clone_count` (0: it is not one of several), and has
	 * these variables of its own; see sm_vm_restore. */
	unsigned clone_index, clone_count;
	const char *const *clone_env; /* NAME=value, NULL-terminated; may be NULL */
};

/* Where the time of a start went, in microseconds. */
struct sm_start_timings {
	uint64_t spawn_us;  /* VMM process created and configured */
	uint64_t memory_us; /* the rest as the VMM measured it */
	uint64_t hypervisor_us;
	uint64_t kernel_us;
	uint64_t devices_us;
	uint64_t vcpus_us;
	uint64_t vmm_us;   /* VMM in all, until its vCPUs ran */
	uint64_t agent_us; /* vCPUs run -> agent ready; restored: the acknowledged resume step */
	uint64_t total_us;
	/* Of a restore, as the VMM measured it; kernel_us is then 0. */
	int is_restored;
	uint64_t state_us; /* state file read and checked */
	uint64_t ram_copy_us;
	uint64_t irqchip_us;
	uint64_t vcpu_restore_us;
	uint64_t clock_us; /* TSC and kvmclock: the guest's monotonic time goes on */
	uint64_t mmio_restore_us;
	uint64_t listener_restore_us;
	uint64_t resume_guest_us; /* of agent_us: inside the guest */
};

/* Starts a VM from the image and returns when its agent answers: by restoring the baked state,
 * which is made first when there is none that fits (see sm_vm_options). The image may be closed
 * after. */
SM_API int sm_vm_start(struct sm_image *image, const struct sm_vm_options *options,
	struct sm_vm **ret, struct sm_error *err);

/* Makes sure that the baked state which sm_vm_start with the same options would restore is there.
 * Returns 1 when it was made now, 0 when it was there. Its directory goes to out (may be NULL). */
SM_API int sm_image_bake(struct sm_image *image, const struct sm_vm_options *options, char *out,
	size_t out_bytes, struct sm_error *err);

/* Where the time of sm_vm_start went. */
SM_API void sm_vm_timings(const struct sm_vm *vm, struct sm_start_timings *ret);

/* Process id of the VMM, for cgroups and accounting. It must not be waited for. */
SM_API int sm_vm_pid(const struct sm_vm *vm);

struct sm_stop_options {
	size_t size;
	int64_t grace_ms; /* between SIGTERM and SIGKILL for what runs in it; default 10 000 */
	int is_forced;	  /* 1: no grace, no sync: the VMM is killed */
};

/* Stops the VM and waits until it is gone: what runs gets SIGTERM, then SIGKILL after the grace,
 * file systems are written, power off. A guest that does not obey in time is killed, which is
 * SM_E_TIMEOUT. A VM that is already gone is success if it powered off, else the error that says
 * why it went. The handle stays valid until sm_vm_close. */
SM_API int sm_vm_stop(
	struct sm_vm *vm, const struct sm_stop_options *options, struct sm_error *err);

/* Waits until the VM is gone. 0: it powered off; SM_E_TIMEOUT: it lives; else why it went. */
SM_API int sm_vm_wait(struct sm_vm *vm, int64_t timeout_ms, struct sm_error *err);

/* Kills the VM if it lives and frees the handle. All execs on it must be closed before. */
SM_API void sm_vm_close(struct sm_vm *vm);

/* Copies the last bytes of the guest's console (kernel messages) into out, always terminated; at
 * most 1 MiB is kept. Works after the VM is gone. Returns the number of bytes. */
SM_API int sm_vm_logs(struct sm_vm *vm, char *out, size_t out_bytes, struct sm_error *err);

/* Asks the guest to give memory back (balloon): 0 … memory size. Returns when asked, not when
 * done. */
SM_API int sm_vm_set_balloon(struct sm_vm *vm, uint64_t target_bytes, struct sm_error *err);

/* ---- snapshots ----------------------------------------------------------------------------- */

struct sm_snapshot_options {
	size_t size;
	const char *base; /* differential: only what the VM changed since it was restored from this
			   * snapshot, which is needed to restore it */
	int64_t freeze_timeout_ms; /* for the workload to come to rest; default 10 000 */
};

struct sm_snapshot_info {
	size_t size;
	const char *product; /* version that wrote it */
	const char *architecture;
	const char *image; /* reference */
	const char *base;  /* directory of the full snapshot, of a differential one; else empty */
	uint64_t memory_bytes;
	uint64_t memory_data_bytes; /* written, without holes */
	uint64_t disk_data_bytes;
	unsigned vcpus;
	int64_t created_unix;
	uint64_t pause_us;   /* for which the VM stood still when it was taken */
	unsigned n_commands; /* that run in it */
};

/* Saves the VM, memory, disk and devices of one instant, as directory `dir`, which must not exist;
 * it appears whole or not at all. The VM stands still meanwhile and then goes on. What runs in it
 * is frozen for the time and does not notice. */
SM_API int sm_vm_snapshot(struct sm_vm *vm, const char *dir,
	const struct sm_snapshot_options *options, struct sm_error *err);

/* Starts a VM from a snapshot. Before any user code runs in it its random number generator is
 * reseeded, its wall clock set, its name and machine-id made its own, and old connections are
 * reset; if the guest does not acknowledge each of these, the VM is killed and an error returned.
 * Of `options` name, failed_log, boot_timeout_ms and clone_* count; the machine is the snapshot's.
 * The directory must not change while a VM restored from it lives. `store` as for sm_image_open:
 * where the layers are. */
SM_API int sm_vm_restore(const char *store, const char *dir, const struct sm_vm_options *options,
	struct sm_vm **ret, struct sm_error *err);

/* Makes a restored VM its snapshot again, in place, at a cost that grows with what it changed; then
 * as after sm_vm_restore. Execs on it end with SM_E_VM_GONE. SM_E_INVALID for a VM that was booted.
 */
SM_API int sm_vm_reset(struct sm_vm *vm, struct sm_error *err);

/* Calls `each` with what the snapshot says of itself; strings live as long as the call. */
SM_API int sm_snapshot_info(const char *dir,
	void (*each)(const struct sm_snapshot_info *info, void *context), void *context,
	struct sm_error *err);

/* Reads all of a snapshot and checks every checksum. SM_E_CORRUPT says which part is damaged. */
SM_API int sm_snapshot_verify(const char *dir, struct sm_error *err);

/* ---- commands in a VM --------------------------------------------------------------------- */

/* Output arrives here, on the thread that calls sm_exec_wait. Return 0 to go on, anything else to
 * kill the command. */
typedef int (*sm_write_fn)(const void *data, size_t bytes, void *context);

enum { SM_FD_NULL = -1 }; /* nothing: reads as end of file, writes vanish */

struct sm_exec_options {
	size_t size;
	const char *const *env; /* NAME=value, NULL-terminated: added to the image's, replacing */
	const char *cwd;	/* default: the image's */
	const char *user;	/* user[:group]; default: the image's */
	int use_fds;		/* 1: the three descriptors below; 0: no input, and the callbacks */
	int stdin_fd;		/* borrowed until sm_exec_wait is through; or SM_FD_NULL */
	int stdout_fd;
	int stderr_fd;
	sm_write_fn on_stdout; /* NULL: discarded */
	sm_write_fn on_stderr;
	void *context;
	int is_entrypoint; /* 1: argv is the command of the image: an empty argv (NULL or only NULL)
			    * means the image's Cmd, and the image's Entrypoint goes before it */
	const char *const *entrypoint; /* with is_entrypoint: instead of the image's Entrypoint;
					* an array of only NULL means none. As docker's, giving
					* this ignores the image's Cmd */
};

struct sm_exit {
	int status; /* exit status as a shell counts: the command's, or 128 + signal */
	int signal; /* the signal that ended it, or 0 */
	uint64_t user_us;
	uint64_t system_us;
	uint64_t peak_rss_bytes;
};

/* Starts a command. Returns when it runs (or could not: SM_E_NOT_FOUND: no such command, exit
 * status 127 by convention; SM_E_EXEC: found, not executable, 126). Streams move only while some
 * thread is in sm_exec_wait; until then the command is held back when its pipes are full. */
SM_API int sm_exec_start(struct sm_vm *vm, const char *const *argv,
	const struct sm_exec_options *options, struct sm_exec **ret, struct sm_error *err);

/* Continues a command that runs in a restored VM, the workload of a baked state or one that ran
 * when the snapshot was taken, as though it had been started here; pid 0: the only one. Only the
 * streams of `options` count. SM_E_NOT_FOUND: there is none. */
SM_API int sm_vm_attach(struct sm_vm *vm, int pid, const struct sm_exec_options *options,
	struct sm_exec **ret, struct sm_error *err);

/* Moves the streams until the command has ended. One thread at a time. After SM_E_TIMEOUT the
 * command runs on and sm_exec_wait may be called again. If the VM goes, it returns at once with
 * SM_E_VM_GONE and the reason. */
SM_API int sm_exec_wait(
	struct sm_exec *exec, int64_t timeout_ms, struct sm_exit *ret, struct sm_error *err);

/* Sends a signal (Linux number) to the command's process group. Any thread, also during wait. */
SM_API int sm_exec_signal(struct sm_exec *exec, int signal_number, struct sm_error *err);

/* Frees the handle; a command that still runs is killed. */
SM_API void sm_exec_close(struct sm_exec *exec);

/* Collected output; each ends with an extra NUL that is not counted. */
struct sm_output {
	char *out;
	size_t out_bytes;
	char *err;
	size_t err_bytes;
	struct sm_exit exit;
};

struct sm_output_options {
	size_t size;
	const struct sm_exec_options *exec; /* streams in it are ignored; NULL: defaults */
	const void *input;		    /* given as standard input, then end of file */
	size_t input_bytes;
	size_t limit_bytes; /* for each of out and err; default 16 MiB; more is an error */
	int64_t timeout_ms; /* the command is then killed; default: never */
};

/* Runs a command and collects what it writes. An exit status other than 0 is not an error. */
SM_API int sm_exec_output(struct sm_vm *vm, const char *const *argv,
	const struct sm_output_options *options, struct sm_output *ret, struct sm_error *err);
SM_API void sm_output_free(struct sm_output *output);

#ifdef __cplusplus
}
#endif
#endif
