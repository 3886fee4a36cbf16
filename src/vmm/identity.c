// SPDX-License-Identifier: Apache-2.0
#include "vmm/identity.h"

#include <errno.h>
#include <sys/random.h>

#include "arch/arch.h"
#include "arch/layout.h"
#include "dev/ioapic.h"
#include "mem/gmem.h"

int identity_renew(const struct gmem *memory, struct err *e)
{
	uint8_t id[ARCH_GENERATION_ID_BYTES];

	if (getrandom(id, sizeof(id), 0) != sizeof(id)) {
		err_sys(e, "get random bytes for the generation ID");
		return err_object(e, "VM");
	}
	if (gmem_copy_out(memory, LAYOUT_GENERATION_ID, id, sizeof(id)) < 0) {
		err_set(e, -EFAULT, "there is no memory where the generation ID belongs");
		return err_object(e, "VM");
	}
	return 0;
}

void identity_announce(struct ioapic *ioapic)
{
	ioapic_raise(ioapic, LAYOUT_GENERATION_IRQ);
}
