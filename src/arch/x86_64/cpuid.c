// SPDX-License-Identifier: Apache-2.0
#include "arch/x86_64/cpuid.h"

#include <errno.h>

/* Leaves: Intel SDM vol. 2 "CPUID", AMD APM vol. 3 appendix E; 0x4000_00xx: KVM's own. */
enum {
	LEAF_VENDOR = 0x0,
	LEAF_FEATURES = 0x1,
	LEAF_CACHES = 0x4,
	LEAF_MONITOR = 0x5,
	LEAF_POWER = 0x6,
	LEAF_FEATURES_7 = 0x7,
	LEAF_COUNTERS = 0xa,
	LEAF_TOPOLOGY = 0xb,
	LEAF_SGX = 0x12,
	LEAF_TRACE = 0x14,
	LEAF_TOPOLOGY_2 = 0x1f,
	LEAF_KVM_TIMING = 0x40000010,
	CACHE_LEVEL_SHARED = 3,
	TOPOLOGY_LEVELS = 3,
};
#define LEAF_AMD_FEATURES   0x80000001u
#define LEAF_AMD_SIZES	    0x80000008u
#define LEAF_AMD_SVM	    0x8000000au
#define LEAF_AMD_IBS	    0x8000001bu
#define LEAF_AMD_CACHES	    0x8000001du
#define LEAF_AMD_TOPOLOGY   0x8000001eu
#define LEAF_AMD_SEV	    0x8000001fu
#define LEAF_AMD_COUNTERS   0x80000022u
#define LEAF_AMD_TOPOLOGY_2 0x80000026u

#define BIT(n) (1u << (n))

/* leaf 1 */
enum {
	F1_ECX_GONE = BIT(2) | BIT(3) | BIT(5) | BIT(6) | /* DTES64, MONITOR, VMX, SMX */
		      BIT(7) | BIT(8) | BIT(15),	  /* EIST, TM2, PDCM */
	F1_ECX_TSC_DEADLINE = BIT(24),
	F1_EDX_GONE = BIT(7) | BIT(14) | BIT(21) | BIT(22) | BIT(29), /* MCE MCA DS ACPI TM */
	F1_EDX_HTT = BIT(28),
};
#define F1_ECX_HYPERVISOR BIT(31)
#define F1_EDX_PBE	  BIT(31)

enum {
	F7_EBX_GONE = BIT(2) | BIT(25), /* SGX, processor trace */
	/* shadow stacks, whose pointer no KVM before 6.18 lets a snapshot have; SGX launch control
	 */
	F7_ECX_GONE = BIT(7) | BIT(30),
	POWER_EAX_KEPT = BIT(2), /* APIC timer always runs */
	AMD_ECX_CMP_LEGACY = BIT(1),
	AMD_ECX_GONE = BIT(2) | BIT(10) | BIT(12) | BIT(23) | /* SVM IBS SKINIT PerfCore */
		       BIT(24) | BIT(28),		      /* PerfNB PerfLLC */
};

struct topology {
	unsigned id;
	unsigned n;
	unsigned shift; /* APIC id bits that number the cores */
	bool is_amd;
};

static unsigned log2_ceil(unsigned n)
{
	unsigned shift = 0;

	while (1u << shift < n)
		shift++;
	return shift;
}

static bool is_amd(const struct x86_cpuid *leaves, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (leaves[i].leaf == LEAF_VENDOR)
			return leaves[i].ebx == 0x68747541 || /* "Auth"enticAMD */
			       leaves[i].ebx == 0x6f677948;   /* "Hygo"nGenuine */
	return false;
}

static void clear(struct x86_cpuid *c)
{
	c->eax = c->ebx = c->ecx = c->edx = 0;
}

static void fix_features(struct x86_cpuid *c, const struct topology *t)
{
	c->ebx = (c->ebx & 0xffff) | 1u << t->shift << 16 | t->id << 24;
	c->ecx &= ~(unsigned)F1_ECX_GONE;
	/* KVM has the deadline timer with every in-kernel APIC; old ones do not list it here */
	c->ecx |= F1_ECX_HYPERVISOR | F1_ECX_TSC_DEADLINE;
	c->edx &= ~((unsigned)F1_EDX_GONE | F1_EDX_PBE | F1_EDX_HTT);
	if (t->n > 1)
		c->edx |= F1_EDX_HTT;
}

/* Deterministic cache parameters: all cores share the third level, nobody shares the others.
 * Leaf 4 and AMD's 0x8000001d agree in these fields; the core count is Intel's alone. */
static void fix_caches(struct x86_cpuid *c, const struct topology *t)
{
	unsigned level = c->eax >> 5 & 7, sharing;

	if ((c->eax & 0x1f) == 0)
		return; /* no more caches */
	sharing = level >= CACHE_LEVEL_SHARED ? (1u << t->shift) - 1 : 0;
	c->eax = (c->eax & 0x3fff) | sharing << 14;
	if (c->leaf == LEAF_CACHES)
		c->eax |= ((1u << t->shift) - 1) << 26;
}

static void fix_amd_features(struct x86_cpuid *c, const struct topology *t)
{
	c->ecx &= ~((unsigned)AMD_ECX_GONE | AMD_ECX_CMP_LEGACY);
	if (t->is_amd && t->n > 1)
		c->ecx |= AMD_ECX_CMP_LEGACY; /* the count of leaf 1 is of cores, not threads */
}

static void fix_amd_sizes(struct x86_cpuid *c, const struct topology *t)
{
	if (t->is_amd)
		c->ecx = (c->ecx & ~0xf0ffu) | t->shift << 12 | (t->n - 1);
}

static void fix_amd_topology(struct x86_cpuid *c, const struct topology *t)
{
	clear(c);
	c->eax = t->id; /* extended APIC id */
	c->ebx = t->id; /* core id; one thread a core, one node */
}

static void fix_leaf(struct x86_cpuid *c, const struct topology *t)
{
	switch (c->leaf) {
	case LEAF_FEATURES:
		fix_features(c, t);
		break;
	case LEAF_CACHES:
	case LEAF_AMD_CACHES:
		fix_caches(c, t);
		break;
	case LEAF_POWER:
		c->eax &= POWER_EAX_KEPT;
		c->ebx = c->ecx = c->edx = 0;
		break;
	case LEAF_FEATURES_7:
		if (c->subleaf == 0) {
			c->ebx &= ~(unsigned)F7_EBX_GONE;
			c->ecx &= ~(unsigned)F7_ECX_GONE;
		}
		break;
	case LEAF_AMD_FEATURES:
		fix_amd_features(c, t);
		break;
	case LEAF_AMD_SIZES:
		fix_amd_sizes(c, t);
		break;
	case LEAF_AMD_TOPOLOGY:
		fix_amd_topology(c, t);
		break;
	case LEAF_MONITOR:
	case LEAF_COUNTERS:
	case LEAF_SGX:
	case LEAF_TRACE:
	case LEAF_AMD_SVM:
	case LEAF_AMD_IBS:
	case LEAF_AMD_SEV:
	case LEAF_AMD_COUNTERS:
		clear(c);
		break;
	}
}

/* Leaves that are replaced, or that only make sense on the host. */
static bool is_dropped(uint32_t leaf)
{
	return leaf == LEAF_TOPOLOGY || leaf == LEAF_TOPOLOGY_2 || leaf == LEAF_KVM_TIMING ||
	       leaf == LEAF_AMD_TOPOLOGY_2;
}

/* Leaf 0xb: threads (one a core), cores, end. */
static void write_topology(struct x86_cpuid *c, const struct topology *t)
{
	enum { TYPE_THREAD = 1, TYPE_CORE = 2 };

	for (unsigned level = 0; level < TOPOLOGY_LEVELS; level++)
		c[level] = (struct x86_cpuid){
			.leaf = LEAF_TOPOLOGY,
			.subleaf = level,
			.has_subleaf = true,
			.ecx = level,
			.edx = t->id,
		};
	c[0].ebx = 1;
	c[0].ecx |= TYPE_THREAD << 8;
	c[1].eax = t->shift;
	c[1].ebx = t->n;
	c[1].ecx |= TYPE_CORE << 8;
}

static bool has_leaf(const struct x86_cpuid *leaves, unsigned n, uint32_t leaf)
{
	for (unsigned i = 0; i < n; i++)
		if (leaves[i].leaf == leaf)
			return true;
	return false;
}

int x86_cpuid_policy(
	struct x86_cpuid *leaves, unsigned n, unsigned room, unsigned id, unsigned n_vcpus)
{
	struct topology t = {id, n_vcpus, log2_ceil(n_vcpus), is_amd(leaves, n)};
	bool has_topology = has_leaf(leaves, n, LEAF_TOPOLOGY);
	unsigned kept = 0;

	if (has_topology && n + TOPOLOGY_LEVELS > room)
		return -ENOSPC;
	for (unsigned i = 0; i < n; i++) {
		if (is_dropped(leaves[i].leaf))
			continue;
		leaves[kept] = leaves[i];
		fix_leaf(&leaves[kept++], &t);
	}
	if (has_topology) {
		write_topology(&leaves[kept], &t);
		kept += TOPOLOGY_LEVELS;
	}
	return (int)kept;
}
