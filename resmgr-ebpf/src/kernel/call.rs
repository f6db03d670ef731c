//! The system call that the running task is in, by the registers that it came with.

use aya_ebpf::helpers::generated;

use super::{current_task, load, offset, probe};

/// Bytes of a task's stack in the kernel, at whose end the registers are saved. Asked for only where no helper tells
/// where they are; a kernel with larger stacks (KASAN) is told by the call's number, which then is another.
const STACK_LEN: u32 = 16 << 10;

/// The call that the running task is in.
#[derive(Clone, Copy)]
pub struct Call {
    registers: u64,
}

impl Call {
    /// The call of the task that runs.
    #[inline(always)]
    pub fn of_current() -> Self {
        let registers = if offset!(typed_registers) == 0 {
            let stack: u64 = probe(current_task(), offset!(task_stack));
            stack + u64::from(STACK_LEN - offset!(registers_len))
        } else {
            // SAFETY: the helpers have no precondition; the task is the one that runs.
            unsafe { generated::bpf_task_pt_regs(generated::bpf_get_current_task_btf()) as u64 }
        };
        Self { registers }
    }

    #[inline(always)]
    fn register(self, at: u32) -> u32 {
        if offset!(typed_registers) == 0 {
            probe(self.registers, at)
        } else {
            load(self.registers as *const u8, at)
        }
    }

    /// Its number.
    #[inline(always)]
    pub fn number(self) -> u32 {
        self.register(offset!(registers_call))
    }

    /// Whether it is connect.
    #[inline(always)]
    pub fn is_connect(self) -> bool {
        self.number() == offset!(call_connect)
    }

    /// Its first argument, where that is a descriptor.
    #[inline(always)]
    pub fn descriptor(self) -> u32 {
        self.register(offset!(registers_argument))
    }
}
