// SPDX-License-Identifier: Apache-2.0
#include "vmm/snapshot.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "arch/arch.h"
#include "base/fd.h"
#include "hv/hv.h"
#include "virtio/virtio.h"
#include "vmm/vm.h"

/* Versions of the sections that the VMM itself lays out; devices' are one as well. A walk that
 * changes gets the next number, and goes on reading the older ones. */
enum { VERSION = 1 };

enum machine_kind { MACHINE_X86_64 = 1 };

/* What must be the same in the machine that a snapshot is loaded into. */
struct shape {
	uint32_t kind;
	uint64_t memory_bytes;
	uint32_t vcpus, layers, volumes;
	bool has_disk;
	uint32_t on; /* bit i: vCPU i has been started */
};

static void shape_snap(struct shape *s, struct snapio *io)
{
	snapio_u32(io, "kind", &s->kind);
	snapio_u64(io, "memory_bytes", &s->memory_bytes);
	snapio_u32(io, "vcpus", &s->vcpus);
	snapio_u32(io, "layers", &s->layers);
	snapio_u32(io, "volumes", &s->volumes);
	snapio_bool(io, "has_disk", &s->has_disk);
	snapio_u32(io, "on", &s->on);
}

static struct shape shape_of(const struct vm_config *c)
{
	return (struct shape){
		.kind = MACHINE_X86_64,
		.memory_bytes = c->memory_bytes,
		.vcpus = c->vcpus,
		.layers = c->n_layers,
		.volumes = c->n_volumes,
		.has_disk = c->has_disk,
	};
}

void snapshot_fini(struct snapshot *s)
{
	if (s->state_fd >= 0)
		close(s->state_fd);
	memfile_runs_fini(&s->memory_runs);
	free(s->disk_runs.items);
	*s = (struct snapshot){.state_fd = -1};
}

/* ---- reading ------------------------------------------------------------------------------- */

static int read_file(int fd, struct snapshot_reader *ret, struct err *e)
{
	struct stat st;
	void *pages;
	int r;

	if (fstat(fd, &st) < 0)
		return err_sys(e, "look at the file");
	if (st.st_size <= 0 || st.st_size > SNAPFILE_BYTES_MAX) {
		err_set(e, -EBADMSG, "it has %lld bytes, which no saved state has",
			(long long)st.st_size);
		return err_remedy(e, "take the snapshot again");
	}
	pages = mmap(NULL, sizeof(*ret->at) + (size_t)st.st_size, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (pages == MAP_FAILED)
		return err_set(e, -ENOMEM, "no memory to read it");
	ret->at = pages;
	ret->bytes = (size_t)st.st_size;
	r = fd_pread_full(fd, ret->at->data, ret->bytes, 0);
	if (r < 0) {
		errno = -r;
		return err_sys(e, "read it");
	}
	return 0;
}

static int differs(struct err *e, const char *what, uint64_t saved, uint64_t here)
{
	err_set(e, -EINVAL, "the snapshot is of a machine with %llu %s, this one has %llu",
		(unsigned long long)saved, what, (unsigned long long)here);
	err_object(e, "state");
	return err_remedy(e, "restore it with what it was taken with, or take it again");
}

static int check_shape(const struct shape *saved, const struct vm_config *c, struct err *e)
{
	struct shape here = shape_of(c);

	if (saved->kind != here.kind) {
		err_set(e, -ENOTSUP,
			"the snapshot is of a machine of kind %u, this one is of kind %u",
			saved->kind, here.kind);
		err_object(e, "state");
		return err_remedy(e, "restore it on the architecture that it was taken on");
	}
	if (saved->memory_bytes != here.memory_bytes)
		return differs(e, "bytes of memory", saved->memory_bytes, here.memory_bytes);
	if (saved->vcpus != here.vcpus)
		return differs(e, "vCPUs", saved->vcpus, here.vcpus);
	if (saved->layers != here.layers)
		return differs(e, "layers", saved->layers, here.layers);
	if (saved->volumes != here.volumes)
		return differs(e, "volumes", saved->volumes, here.volumes);
	if (saved->has_disk != here.has_disk)
		return differs(e, "writable disks", saved->has_disk, here.has_disk);
	if (saved->on & ~((1u << here.vcpus) - 1) || !(saved->on & 1)) {
		err_set(e, -EBADMSG, "it says that vCPUs run which there are not");
		return err_object(e, "state");
	}
	return 0;
}

int snapshot_read(struct snapshot_reader *r, int state_fd, const struct vm_config *config,
	uint32_t *ret_on, struct err *e)
{
	struct shape saved = {0};
	struct snapio io;
	int code;

	*r = (struct snapshot_reader){0};
	code = read_file(state_fd, r, e);
	if (code == 0)
		code = snapfile_open(r->at->data, r->bytes, &r->at->file, e);
	if (code == 0)
		code = snapfile_load(&r->at->file, "machine", VERSION, &io, e);
	if (code == 0) {
		shape_snap(&saved, &io);
		code = snapio_end(&io, e);
	}
	if (code == 0)
		code = check_shape(&saved, config, e);
	if (code < 0) {
		snapshot_reader_fini(r);
		return err_object(e, "state");
	}
	*ret_on = saved.on;
	return 0;
}

void snapshot_reader_fini(struct snapshot_reader *r)
{
	if (r->at)
		munmap(r->at, sizeof(*r->at) + r->bytes);
	r->at = NULL;
}

int snapshot_read_runs(
	struct snapshot_reader *r, uint64_t memory_bytes, struct snapshot *ret, struct err *e)
{
	struct snapio io;
	int code = snapfile_load(&r->at->file, "memory.runs", VERSION, &io, e);

	if (code < 0) {
		err_remedy(e, "the full snapshot was given in place of the differential one");
		return code;
	}
	memfile_runs_snap(&ret->memory_runs, memory_bytes, &io);
	code = snapio_end(&io, e);
	if (code == 0)
		code = snapfile_load(&r->at->file, "disk.runs", VERSION, &io, e);
	if (code < 0)
		return code;
	disk_runs_snap(&ret->disk_runs, &io);
	return snapio_end(&io, e);
}

int snapshot_read_vcpus(struct snapshot_reader *r, struct vm *vm, struct err *e)
{
	char name[SNAPFILE_NAME_MAX + 1];
	struct snapio io;
	int code = snapfile_load(&r->at->file, "clock", VERSION, &io, e);

	if (code < 0)
		return code;
	arch_vm_state_snap(&vm->clock, &io);
	code = snapio_end(&io, e);
	for (unsigned i = 0; code == 0 && i < vm->config->vcpus; i++) {
		vm->saved[i] = arch_vcpu_state_new();
		if (!vm->saved[i])
			return err_set(e, -ENOMEM, "no memory for the state of vCPU %u", i);
		snprintf(name, sizeof(name), "vcpu.%u", i);
		code = snapfile_load(&r->at->file, name, VERSION, &io, e);
		if (code < 0)
			break;
		arch_vcpu_state_snap(vm->saved[i], &io);
		code = snapio_end(&io, e);
	}
	return code;
}

int snapshot_load_ioapic(struct snapshot_reader *r, struct vm *vm, struct err *e)
{
	struct snapio io;
	int code = snapfile_load(&r->at->file, "ioapic", VERSION, &io, e);

	if (code < 0)
		return code;
	ioapic_snap(&vm->ioapic, &io);
	return snapio_end(&io, e);
}

/* A section for a device that the machine has not: the original passed over it in silence. */
static int check_no_more(const struct snapfile *f, unsigned n_devices, struct err *e)
{
	char name[SNAPFILE_NAME_MAX + 1];
	struct snapio io;

	snprintf(name, sizeof(name), "device.%u", n_devices);
	if (snapfile_load(f, name, VERSION, &io, NULL) == -ENOENT)
		return 0;
	err_set(e, -EINVAL, "the snapshot names more devices than the %u that the machine has",
		n_devices);
	err_object(e, "%s", name);
	return err_remedy(e, "restore it with the layers and volumes that it was taken with");
}

int snapshot_load_devices(struct snapshot_reader *r, struct vm *vm, struct err *e)
{
	char name[SNAPFILE_NAME_MAX + 1];
	struct snapio io;
	int code = check_no_more(&r->at->file, vm->n_devices, e);

	if (code == 0)
		code = snapfile_load(&r->at->file, "serial", VERSION, &io, e);
	if (code < 0)
		return code;
	serial_snap(&vm->serial, &io);
	code = snapio_end(&io, e);
	for (unsigned i = 0; code == 0 && i < vm->n_devices; i++) {
		snprintf(name, sizeof(name), "device.%u", i);
		code = snapfile_load(&r->at->file, name, VERSION, &io, e);
		if (code < 0)
			break;
		virtio_snap(vm->devices[i], &io);
		code = snapio_end(&io, e);
	}
	return code;
}

/* ---- writing ------------------------------------------------------------------------------- */

static int save_machine(struct vm *vm, struct snapfile_writer *w, struct err *e)
{
	struct shape s = shape_of(vm->config);

	s.on = coord_on_mask(&vm->coord);
	shape_snap(&s, snapfile_begin(w, "machine", VERSION));
	return snapfile_end(w, e);
}

static int save_vcpus(struct vm *vm, struct snapfile_writer *w, struct err *e)
{
	char name[SNAPFILE_NAME_MAX + 1];
	struct arch_vcpu_state *s;
	struct arch_vm_state clock = {0};
	int r = 0;

	for (unsigned i = 0; r == 0 && i < vm->n_vcpus; i++) {
		s = arch_vcpu_state_new();
		if (!s)
			return err_set(e, -ENOMEM, "no memory for the state of vCPU %u", i);
		r = hv_vcpu_save(vm->vcpus[i].hv, s, e);
		if (r == 0) {
			snprintf(name, sizeof(name), "vcpu.%u", i);
			arch_vcpu_state_snap(s, snapfile_begin(w, name, VERSION));
			r = snapfile_end(w, e);
		}
		arch_vcpu_state_free(s);
	}
	if (r == 0)
		r = hv_save(vm->hv, &clock, e);
	if (r < 0)
		return r;
	arch_vm_state_snap(&clock, snapfile_begin(w, "clock", VERSION));
	return snapfile_end(w, e);
}

static int save_devices(struct vm *vm, struct snapfile_writer *w, struct err *e)
{
	char name[SNAPFILE_NAME_MAX + 1];
	int r;

	ioapic_snap(&vm->ioapic, snapfile_begin(w, "ioapic", VERSION));
	r = snapfile_end(w, e);
	if (r < 0)
		return r;
	serial_snap(&vm->serial, snapfile_begin(w, "serial", VERSION));
	r = snapfile_end(w, e);
	for (unsigned i = 0; r == 0 && i < vm->n_devices; i++) {
		snprintf(name, sizeof(name), "device.%u", i);
		virtio_snap(vm->devices[i], snapfile_begin(w, name, VERSION));
		r = snapfile_end(w, e);
	}
	return r;
}

/* Memory and disk of a full snapshot. */
static int save_contents(struct vm *vm, const struct snapshot_files *f,
	struct memfile_saved *ret_memory, struct disk_saved *ret_disk, struct err *e)
{
	int r = memfile_save(&vm->memory, f->pagemap_fd, f->memory_fd, ret_memory, e);

	if (r == 0 && vm->disk)
		r = disk_overlay_save(vm->disk, f->disk_fd, ret_disk, e);
	return r;
}

/* The same of a differential one; where its pieces belong is part of the state. */
static int save_differences(struct vm *vm, const struct snapshot_files *f,
	struct snapfile_writer *w, struct memfile_saved *ret_memory, struct disk_saved *ret_disk,
	struct err *e)
{
	struct memfile_runs memory = {0};
	struct disk_runs disk = {0};
	int r = memfile_save_diff(&vm->memory, &vm->snapshot.memory_runs, f->pagemap_fd,
		f->memory_fd, &memory, ret_memory, e);

	if (r == 0 && vm->disk)
		r = disk_overlay_save_diff(vm->disk, f->disk_fd, &disk, ret_disk, e);
	if (r == 0) {
		memfile_runs_snap(
			&memory, vm->memory.total, snapfile_begin(w, "memory.runs", VERSION));
		r = snapfile_end(w, e);
	}
	if (r == 0) {
		disk_runs_snap(&disk, snapfile_begin(w, "disk.runs", VERSION));
		r = snapfile_end(w, e);
	}
	memfile_runs_fini(&memory);
	free(disk.items);
	return r;
}

static int save_all(struct vm *vm, const struct snapshot_files *f, struct snapfile_writer *w,
	uint64_t value[CTL_ANSWER_VALUES], struct err *e)
{
	struct memfile_saved memory = {0};
	struct disk_saved disk = {0};
	uint64_t state_bytes = 0;
	int r = save_machine(vm, w, e);

	if (r == 0)
		r = save_vcpus(vm, w, e);
	if (r == 0)
		r = save_devices(vm, w, e);
	if (r == 0)
		r = f->is_diff ? save_differences(vm, f, w, &memory, &disk, e)
			       : save_contents(vm, f, &memory, &disk, e);
	if (r == 0)
		r = snapfile_write(w, f->state_fd, &state_bytes, e);
	if (r < 0)
		return r;
	value[CTL_V_SNAPSHOT_STATE_BYTES] = state_bytes;
	value[CTL_V_SNAPSHOT_MEMORY_BYTES] = memory.data_bytes;
	value[CTL_V_SNAPSHOT_MEMORY_CHECKSUM] = memory.checksum;
	value[CTL_V_SNAPSHOT_DISK_BYTES] = disk.data_bytes;
	value[CTL_V_SNAPSHOT_DISK_CHECKSUM] = disk.checksum;
	return 0;
}

int snapshot_save(struct vm *vm, const struct snapshot_files *files,
	uint64_t value[CTL_ANSWER_VALUES], struct err *e)
{
	struct snapfile_writer *w;
	int r;

	if (files->is_diff && vm->snapshot.state_fd < 0) {
		err_set(e, -EINVAL,
			"this VM was booted: there is nothing that it could differ from");
		return err_remedy(e, "take a full snapshot");
	}
	w = malloc(sizeof(*w));
	if (!w)
		return err_set(e, -ENOMEM, "no memory to write the state");
	snapfile_writer_init(w);
	r = save_all(vm, files, w, value, e);
	snapfile_writer_fini(w);
	free(w);
	return r;
}
