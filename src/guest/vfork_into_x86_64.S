# SPDX-License-Identifier: Apache-2.0
# long vfork_into(const struct clone_args *args, size_t bytes): clone3(2) for a child that borrows this
# process's memory and stack until it runs a program. Returns twice, like vfork: the return address is kept
# in a register, since the child's calls overwrite where it was on the stack. Returns what the kernel says.

	.text
	.globl	vfork_into
	.hidden	vfork_into
	.type	vfork_into, @function
vfork_into:
	popq	%rdx
	movl	$435, %eax # __NR_clone3
	syscall
	pushq	%rdx
	ret
	.size	vfork_into, . - vfork_into

	.section .note.GNU-stack, "", @progbits
