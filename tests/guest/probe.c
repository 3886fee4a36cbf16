// SPDX-License-Identifier: Apache-2.0
/* hv_probe answers, soon and with a reason: yes where the processor's own virtualization runs the
 * guest, no where it is emulated in software without SSE or cmpxchg16b. Which of both is right here
 * is seen by whether the host's processor virtualizes. */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"

enum { SLOWEST_MS = 3000 };

static bool has_hardware(void)
{
	char line[8192];
	FILE *f = fopen("/proc/cpuinfo", "re");
	bool found = false;

	while (f && !found && fgets(line, sizeof(line), f))
		found = strncmp(line, "flags", 5) == 0 &&
			(strstr(line, " svm ") || strstr(line, " vmx "));
	if (f)
		fclose(f);
	return found;
}

int main(void)
{
	struct err e = {0};
	uint64_t from = clock_now_ns();
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), r;

	if (kvm < 0) {
		printf("skipped: /dev/kvm: %s\n", strerror(errno));
		return EXIT_SKIPPED;
	}
	r = hv_probe(kvm, &e);
	printf("%d after %llu us: %s\n", r, (unsigned long long)(clock_now_ns() - from) / 1000,
		r ? e.cause : "Linux guests can run");
	if (clock_now_ns() - from > SLOWEST_MS * 1000000ull)
		tiny_fail("it took more than %d ms", SLOWEST_MS);
	tiny_equal("the answer", (uint64_t)r, has_hardware() ? 0 : (uint64_t)-ENOTSUP);
	if (r < 0 && (!e.cause[0] || !e.remedy[0]))
		tiny_fail("a refusal without reason or remedy");
	/* what is not the device is told apart */
	close(kvm);
	kvm = open("/dev/null", O_RDWR | O_CLOEXEC);
	tiny_equal("the answer for /dev/null", (uint64_t)hv_probe(kvm, &e), (uint64_t)-ENOTTY);
	close(kvm);
	return 0;
}
