//! A simulated world for the engine: a disk that fails in every way that disks do, a workload over the whole API, and a
//! model that judges every state.
