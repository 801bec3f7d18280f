// The switch from one stack to another: what makes a function a fiber.
#pragma once

#if defined(__x86_64__)
extern "C" void emulator_switch(void** from, void* to);
// Saves what a callee must keep, and continues on the other stack.
asm(R"(
.text
.type emulator_switch,@function
emulator_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size emulator_switch,.-emulator_switch
)");
#else
#error "the emulator switches stacks on x86-64 only"
#endif
