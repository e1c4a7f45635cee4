//! The kernel of AMX: its eight tile registers hold two tiles of rows, two of columns, and their four products.
//!
//! Rust has no stable functions for these instructions yet, so they are written in assembly.

use std::arch::asm;
use std::arch::x86_64::__cpuid_count;
use std::sync::OnceLock;

use super::layout::{BLOCK, LINES, Line};
use super::tiles::{Block, Kernel};

/// Bytes of a row of a tile.
const ROW: usize = 64;

/// Whether the processor has AMX for bf16, and the system lets this process use it.
pub(super) fn is_available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| {
        let features = __cpuid_count(7, 0).edx;
        let (amx_bf16, amx_tile) = (1 << 22, 1 << 24);
        features & amx_bf16 != 0 && features & amx_tile != 0 && allowed()
    })
}

/// Asks Linux for the tile registers, for all threads of this process.
fn allowed() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_ulong = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_ulong = 18;
    // SAFETY: this request takes two numbers and touches no memory.
    let status = unsafe {
        libc::syscall(
            libc::SYS_arch_prctl,
            ARCH_REQ_XCOMP_PERM,
            XFEATURE_XTILEDATA,
        )
    };
    status == 0
}

/// The shapes of the tile registers.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes_per_row: [u16; 16],
    rows: [u8; 16],
}

/// Eight tiles of 16 rows of 64 bytes.
static CONFIGURATION: Configuration = Configuration {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    bytes_per_row: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

#[derive(Clone, Copy)]
pub(super) struct Amx;

impl Kernel for Amx {
    unsafe fn begin(self) {
        // SAFETY: the processor has AMX, and Linux allows it.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &CONFIGURATION, options(nostack, readonly)) }
    }

    unsafe fn block(self, rows: &[Line], columns: &[Line], output: &mut Block) {
        assert_eq!(rows.len(), columns.len(), "depth");
        assert!(rows.len().is_multiple_of(LINES) && !rows.is_empty());
        let tile = LINES / 2;
        let output = output.as_mut_ptr().cast::<f32>();
        // SAFETY: every turn reads two tiles of each factor, and there are as many turns as pairs of tiles. The four
        // tiles of the output lie within it. No register that the compiler uses changes but those named.
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "2:",
                "tileloadd tmm4, [{rows} + {row}*1]",
                "tileloadd tmm6, [{columns} + {row}*1]",
                "tileloadd tmm7, [{columns} + {row}*1 + 1024]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm5, [{rows} + {row}*1 + 1024]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {rows}, 2048",
                "add {columns}, 2048",
                "dec {turns}",
                "jnz 2b",
                "tilestored [{output} + {output_row}*1], tmm0",
                "tilestored [{output} + {output_row}*1 + 64], tmm1",
                "tilestored [{lower} + {output_row}*1], tmm2",
                "tilestored [{lower} + {output_row}*1 + 64], tmm3",
                rows = inout(reg) rows.as_ptr() => _,
                columns = inout(reg) columns.as_ptr() => _,
                turns = inout(reg) rows.len() / (2 * tile) => _,
                row = in(reg) ROW,
                output = in(reg) output,
                lower = in(reg) output.add(BLOCK * tile),
                output_row = in(reg) BLOCK * size_of::<f32>(),
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
    }

    unsafe fn end(self) {
        // SAFETY: the processor has AMX. Without its tiles, switching to another thread costs nothing more.
        unsafe { asm!("tilerelease", options(nomem, nostack)) }
    }
}
