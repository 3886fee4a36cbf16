// SPDX-License-Identifier: Apache-2.0
#include "guest/bootfile.h"

#include <errno.h>
#include <string.h>

#include "guest/file.h"

int bootfile_read(const char *path, struct bootcfg *ret, struct err *e)
{
	struct bootcfg c;
	autobuf struct buf b;
	int r;

	buf_init(&b, BOOTCFG_TEXT_MAX);
	r = file_read(path, &b);
	if (r < 0) {
		err_set(e, r, "the boot configuration cannot be read: %s", strerror(-r));
		err_object(e, "%s", path);
		return err_remedy(
			e, "the initramfs must be followed by the archive that carries it");
	}
	r = b.bytes ? bootcfg_decode((const char *)b.data, b.bytes, &c) : -EINVAL;
	if (r < 0) {
		err_set(e, r, "the boot configuration makes no sense");
		err_object(e, "%s", path);
		return err_remedy(e, "use an initramfs and a library of the same version");
	}
	if (!c.n_layers) {
		err_set(e, -EINVAL, "the boot configuration names no image layer");
		err_object(e, "%s", path);
		return err_remedy(e, "give the machine at least one layer disk");
	}
	*ret = c;
	return 0;
}
