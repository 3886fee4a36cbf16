// SPDX-License-Identifier: Apache-2.0
/*
 * Whether a guest that was shown one CPU can go on on another: the features that are missing, by
 * the names that people know. Bits: Intel SDM vol. 2 "CPUID", AMD APM vol. 3 appendix E, KVM's
 * Documentation/virt/kvm/x86/cpuid.rst.
 */
#include "arch/x86_64/cpuid.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"

#define BIT(n) (1u << (n))

enum {
	LEAF_VENDOR = 0,
	LEAF_XSAVE = 0xd,
	XSAVE_USER = 0,
	XSAVE_EXTRA = 1,
	XSAVE_FIRST_LAID_OUT = 2, /* x87 and SSE lie in the legacy area */
	XSAVE_COMPONENTS = 63,
	NAMES_TOLD = 5,
	NAME_MAX = 40,
};

enum reg { EAX, EBX, ECX, EDX };

static const char *const reg_names[] = {"EAX", "EBX", "ECX", "EDX"};

static const char *const f1_ecx[32] = {[0] = "SSE3",
	[1] = "PCLMULQDQ",
	[9] = "SSSE3",
	[12] = "FMA",
	[13] = "CMPXCHG16B",
	[17] = "PCID",
	[19] = "SSE4.1",
	[20] = "SSE4.2",
	[21] = "x2APIC",
	[22] = "MOVBE",
	[23] = "POPCNT",
	[24] = "the APIC's TSC deadline timer",
	[25] = "AES-NI",
	[26] = "XSAVE",
	[28] = "AVX",
	[29] = "F16C",
	[30] = "RDRAND"};
static const char *const f1_edx[32] = {[0] = "x87",
	[1] = "VME",
	[2] = "DE",
	[3] = "PSE",
	[4] = "TSC",
	[5] = "MSRs",
	[6] = "PAE",
	[8] = "CMPXCHG8B",
	[11] = "SYSENTER",
	[12] = "MTRRs",
	[13] = "PGE",
	[15] = "CMOV",
	[16] = "PAT",
	[17] = "PSE-36",
	[19] = "CLFLUSH",
	[23] = "MMX",
	[24] = "FXSR",
	[25] = "SSE",
	[26] = "SSE2",
	[27] = "self-snoop"};
static const char *const f7_ebx[32] = {[0] = "FSGSBASE",
	[1] = "TSC_ADJUST",
	[3] = "BMI1",
	[4] = "HLE",
	[5] = "AVX2",
	[7] = "SMEP",
	[8] = "BMI2",
	[9] = "ERMS",
	[10] = "INVPCID",
	[11] = "RTM",
	[14] = "MPX",
	[16] = "AVX-512F",
	[17] = "AVX-512DQ",
	[18] = "RDSEED",
	[19] = "ADX",
	[20] = "SMAP",
	[21] = "AVX-512IFMA",
	[23] = "CLFLUSHOPT",
	[24] = "CLWB",
	[26] = "AVX-512PF",
	[27] = "AVX-512ER",
	[28] = "AVX-512CD",
	[29] = "SHA",
	[30] = "AVX-512BW",
	[31] = "AVX-512VL"};
static const char *const f7_ecx[32] = {[0] = "PREFETCHWT1",
	[1] = "AVX-512VBMI",
	[2] = "UMIP",
	[3] = "PKU",
	[5] = "WAITPKG",
	[6] = "AVX-512VBMI2",
	[7] = "CET-SS",
	[8] = "GFNI",
	[9] = "VAES",
	[10] = "VPCLMULQDQ",
	[11] = "AVX-512VNNI",
	[12] = "AVX-512BITALG",
	[14] = "AVX-512VPOPCNTDQ",
	[16] = "LA57",
	[22] = "RDPID",
	[24] = "bus lock detection",
	[25] = "CLDEMOTE",
	[27] = "MOVDIRI",
	[28] = "MOVDIR64B",
	[30] = "SGX_LC"};
static const char *const f7_edx[32] = {[2] = "AVX-512_4VNNIW",
	[3] = "AVX-512_4FMAPS",
	[4] = "FSRM",
	[8] = "AVX-512VP2INTERSECT",
	[10] = "MD_CLEAR",
	[14] = "SERIALIZE",
	[16] = "TSXLDTRK",
	[20] = "CET-IBT",
	[22] = "AMX-BF16",
	[23] = "AVX-512FP16",
	[24] = "AMX-TILE",
	[25] = "AMX-INT8",
	[26] = "IBRS and IBPB",
	[27] = "STIBP",
	[28] = "L1D_FLUSH",
	[29] = "ARCH_CAPABILITIES",
	[30] = "CORE_CAPABILITIES",
	[31] = "SSBD"};
static const char *const f7_1_eax[32] = {[0] = "SHA512",
	[1] = "SM3",
	[2] = "SM4",
	[4] = "AVX-VNNI",
	[5] = "AVX-512BF16",
	[7] = "CMPCCXADD",
	[10] = "FZRM",
	[11] = "FSRS",
	[12] = "FSRC",
	[17] = "FRED",
	[18] = "LKGS",
	[19] = "WRMSRNS",
	[21] = "AMX-FP16",
	[23] = "AVX-IFMA",
	[26] = "LAM"};
static const char *const f7_1_edx[32] = {[4] = "AVX-VNNI-INT8",
	[5] = "AVX-NE-CONVERT",
	[8] = "AMX-COMPLEX",
	[10] = "AVX-VNNI-INT16",
	[14] = "PREFETCHITI",
	[19] = "AVX10"};
static const char *const f7_2_edx[32] = {[0] = "PSFD",
	[1] = "IPRED_CTRL",
	[2] = "RRSBA_CTRL",
	[3] = "DDPD_U",
	[4] = "BHI_CTRL",
	[5] = "MCDT_NO"};
static const char *const xcr0_low[32] = {[0] = "x87 state",
	[1] = "SSE state",
	[2] = "AVX state",
	[3] = "MPX bounds",
	[4] = "MPX configuration",
	[5] = "AVX-512 mask state",
	[6] = "AVX-512 upper state",
	[7] = "AVX-512 state of ZMM16-31",
	[9] = "PKRU state",
	[17] = "AMX configuration state",
	[18] = "AMX tile state"};
static const char *const xsave_eax[32] = {
	[0] = "XSAVEOPT", [1] = "XSAVEC", [2] = "XGETBV with ECX 1", [3] = "XSAVES", [4] = "XFD"};
static const char *const xss_low[32] = {[8] = "processor trace state",
	[10] = "PASID state",
	[11] = "CET user state",
	[12] = "CET supervisor state",
	[15] = "LBR state"};
static const char *const amd_ecx[32] = {[0] = "LAHF in 64-bit mode",
	[4] = "CR8 by LOCK MOV CR0",
	[5] = "LZCNT",
	[6] = "SSE4A",
	[7] = "misaligned SSE",
	[8] = "PREFETCHW",
	[9] = "OSVW",
	[11] = "XOP",
	[16] = "FMA4",
	[21] = "TBM",
	[22] = "topology extensions",
	[26] = "data breakpoint extension"};
static const char *const amd_edx[32] = {[11] = "SYSCALL",
	[20] = "NX",
	[22] = "MMXEXT",
	[25] = "fast FXSR",
	[26] = "1 GiB pages",
	[27] = "RDTSCP",
	[29] = "64-bit mode",
	[30] = "3DNow! extensions",
	[31] = "3DNow!"};
static const char *const power_edx[32] = {[8] = "an invariant TSC"};
static const char *const sizes_ebx[32] = {[0] = "CLZERO",
	[2] = "XSAVEERPTR",
	[9] = "WBNOINVD",
	[12] = "IBPB",
	[14] = "IBRS",
	[15] = "STIBP",
	[17] = "STIBP always on",
	[24] = "SSBD",
	[25] = "VIRT_SSBD",
	[26] = "SSB_NO",
	[28] = "PSFD",
	[29] = "BTC_NO"};
static const char *const amd2_eax[32] = {[0] = "no nested data breakpoints",
	[2] = "LFENCE that serializes",
	[6] = "null selectors that clear the base",
	[8] = "automatic IBRS"};
static const char *const kvm_eax[32] = {[0] = "KVM's old clock",
	[1] = "KVM_NOP_IO_DELAY",
	[3] = "KVM's clock",
	[4] = "KVM's asynchronous page faults",
	[5] = "KVM's steal time",
	[6] = "KVM's paravirtual end of interrupt",
	[7] = "KVM's paravirtual spinlocks",
	[9] = "KVM's paravirtual TLB flush",
	[10] = "KVM's asynchronous page faults as exits",
	[11] = "KVM's paravirtual IPIs",
	[12] = "KVM's poll control",
	[13] = "KVM's yield call",
	[14] = "KVM's page-ready interrupt",
	[15] = "KVM's extended MSI destinations",
	[16] = "KVM's encryption status call",
	[17] = "KVM's migration control",
	[24] = "KVM's stable clock"};

/*
 * What is compared. Not: OSXSAVE, OSPKE and MONITOR, which follow registers of the guest; the
 * APIC bit, which follows its APIC; hyper-threading and CmpLegacy, which are topology; bits that
 * tell what is gone (FDP_EXCPTN_ONLY, FCS_FCDS); AMD's copy of leaf 1 in 0x80000001. The width of
 * addresses neither: this machine's memory lies below any that a 64-bit CPU has.
 */
static const struct word {
	uint32_t leaf, subleaf;
	enum reg reg;
	uint32_t ignored;
	const char *const *names;
} words[] = {
	{0x1, 0, ECX, BIT(3) | BIT(27) | BIT(31), f1_ecx},
	{0x1, 0, EDX, BIT(9) | BIT(28), f1_edx},
	{0x7, 0, EBX, BIT(6) | BIT(13), f7_ebx},
	{0x7, 0, ECX, BIT(4), f7_ecx},
	{0x7, 0, EDX, 0, f7_edx},
	{0x7, 1, EAX, 0, f7_1_eax},
	{0x7, 1, EDX, 0, f7_1_edx},
	{0x7, 2, EDX, 0, f7_2_edx},
	{LEAF_XSAVE, XSAVE_USER, EAX, 0, xcr0_low},
	{LEAF_XSAVE, XSAVE_USER, EDX, 0, NULL},
	{LEAF_XSAVE, XSAVE_EXTRA, EAX, 0, xsave_eax},
	{LEAF_XSAVE, XSAVE_EXTRA, ECX, 0, xss_low},
	{LEAF_XSAVE, XSAVE_EXTRA, EDX, 0, NULL},
	{0x80000001, 0, ECX, BIT(1), amd_ecx},
	{0x80000001, 0, EDX, 0x0183f3ff, amd_edx},
	{0x80000007, 0, EDX, 0, power_edx},
	{0x80000008, 0, EBX, 0, sizes_ebx},
	{0x80000021, 0, EAX, 0, amd2_eax},
	{0x40000001, 0, EAX, 0, kvm_eax},
};

static const struct x86_cpuid *find(
	const struct x86_cpuid *list, unsigned n, uint32_t leaf, uint32_t subleaf)
{
	static const struct x86_cpuid none;

	for (unsigned i = 0; i < n; i++)
		if (list[i].leaf == leaf && (list[i].has_subleaf ? list[i].subleaf : 0) == subleaf)
			return &list[i];
	return &none;
}

static uint32_t reg_of(const struct x86_cpuid *c, enum reg reg)
{
	const uint32_t regs[] = {c->eax, c->ebx, c->ecx, c->edx};

	return regs[reg];
}

/* ---- vendor */

static const char *vendor(const struct x86_cpuid *c)
{
	static const struct {
		char id[13];
		const char *name;
	} known[] = {{"GenuineIntel", "Intel"}, {"AuthenticAMD", "AMD"}, {"HygonGenuine", "Hygon"},
		{"CentaurHauls", "Centaur"}, {"  Shanghai  ", "Zhaoxin"}};
	char id[12];

	memcpy(id, &c->ebx, 4);
	memcpy(id + 4, &c->edx, 4);
	memcpy(id + 8, &c->ecx, 4);
	for (unsigned i = 0; i < ARRAY_LEN(known); i++)
		if (memcmp(id, known[i].id, sizeof(id)) == 0)
			return known[i].name;
	return "unknown";
}

static int refuse_vendor(const struct x86_cpuid *saved, const struct x86_cpuid *host, struct err *e)
{
	const char *name = vendor(saved);

	err_set(e, -ENOTSUP, "the snapshot was taken on %s %s CPU, this host's is %s",
		strchr("AIaiu", name[0]) ? "an" : "a", name, vendor(host));
	err_object(e, "CPU");
	return err_remedy(e, "restore it on a host with such a CPU, or bake it again on this one");
}

/* ---- features */

struct missing {
	char names[NAMES_TOLD][NAME_MAX];
	unsigned n; /* in all */
};

static void note_missing(struct missing *m, const struct word *w, unsigned bit)
{
	const char *name = w->names ? w->names[bit] : NULL;
	unsigned at = m->n++;

	if (at >= NAMES_TOLD)
		return;
	if (name)
		snprintf(m->names[at], NAME_MAX, "%s", name);
	else
		snprintf(m->names[at], NAME_MAX, "CPUID 0x%x.%u %s bit %u", w->leaf, w->subleaf,
			reg_names[w->reg], bit);
}

static int refuse_missing(const struct missing *m, struct err *e)
{
	unsigned told = MIN(m->n, NAMES_TOLD);
	char list[NAMES_TOLD * (NAME_MAX + 8)];
	size_t at = 0;

	for (unsigned i = 0; i < told; i++) {
		const char *between = i == 0 ? "" : i + 1 < m->n ? ", " : " and ";

		at += (size_t)snprintf(list + at, sizeof(list) - at, "%s%s", between, m->names[i]);
	}
	if (told < m->n)
		snprintf(list + at, sizeof(list) - at, " and %u more", m->n - told);
	err_set(e, -ENOTSUP, "the snapshot was taken with %s, which this host's CPU or KVM lacks",
		list);
	err_object(e, "CPU");
	return err_remedy(e, "restore it on a host that has %s, or bake it again on this one",
		m->n == 1 ? "that" : "these");
}

static int compare_features(const struct x86_cpuid *saved, unsigned n_saved,
	const struct x86_cpuid *host, unsigned n_host, struct err *e)
{
	struct missing m = {.n = 0};

	for (unsigned i = 0; i < ARRAY_LEN(words); i++) {
		const struct word *w = &words[i];
		uint32_t had = reg_of(find(saved, n_saved, w->leaf, w->subleaf), w->reg);
		uint32_t has = reg_of(find(host, n_host, w->leaf, w->subleaf), w->reg);
		uint32_t gone = had & ~has & ~w->ignored;

		for (unsigned bit = 0; bit < 32; bit++)
			if (gone & BIT(bit))
				note_missing(&m, w, bit);
	}
	return m.n ? refuse_missing(&m, e) : 0;
}

/* ---- where XSAVE puts what: the guest's kernel has computed with it, and so has the processor */

static int compare_layout(const struct x86_cpuid *saved, unsigned n_saved,
	const struct x86_cpuid *host, unsigned n_host, struct err *e)
{
	const struct x86_cpuid *user = find(saved, n_saved, LEAF_XSAVE, XSAVE_USER);
	const struct x86_cpuid *extra = find(saved, n_saved, LEAF_XSAVE, XSAVE_EXTRA);
	uint64_t components = user->eax | extra->ecx | (uint64_t)(user->edx | extra->edx) << 32;

	for (unsigned i = XSAVE_FIRST_LAID_OUT; i < XSAVE_COMPONENTS; i++) {
		const struct x86_cpuid *a, *b;

		if (!(components >> i & 1))
			continue;
		a = find(saved, n_saved, LEAF_XSAVE, i);
		b = find(host, n_host, LEAF_XSAVE, i);
		if (a->eax == b->eax && a->ebx == b->ebx)
			continue;
		err_set(e, -ENOTSUP,
			"the snapshot's CPU saves component %u of XSAVE in %u bytes at %u, this "
			"host's in %u at %u",
			i, a->eax, a->ebx, b->eax, b->ebx);
		err_object(e, "CPU");
		return err_remedy(e, "restore it on a host with such a CPU, or bake it again on "
				     "this one");
	}
	return 0;
}

int x86_cpuid_compare(const struct x86_cpuid *saved, unsigned n_saved, const struct x86_cpuid *host,
	unsigned n_host, struct err *e)
{
	const struct x86_cpuid *had = find(saved, n_saved, LEAF_VENDOR, 0);
	const struct x86_cpuid *has = find(host, n_host, LEAF_VENDOR, 0);
	int r;

	if (had->ebx != has->ebx || had->ecx != has->ecx || had->edx != has->edx)
		return refuse_vendor(had, has, e);
	r = compare_features(saved, n_saved, host, n_host, e);
	return r < 0 ? r : compare_layout(saved, n_saved, host, n_host, e);
}
