//! Which GPUs there are, asked before anything is computed: Burn itself panics, or waits for half
//! a minute, where a driver is missing.

/// A device that tensors can live on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found<D> {
    /// How Burn names it.
    pub device: D,
    /// How its maker names it.
    pub name: String,
    /// Driver, or what else is worth knowing.
    pub detail: String,
    /// Whether it is no GPU at all but a driver that computes on the processor.
    pub software: bool,
}

/// Why there is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{missing}")]
pub struct Missing {
    /// What is not there.
    pub missing: String,
    /// What would help.
    pub hint: String,
}

/// Keeps compiled kernels in the user's folder for caches, from where the next process takes them: a
/// start costs a minute of compiling otherwise. To be called before a device computes; a `cubecl.toml`
/// that says where to keep them stands.
///
/// Kernels for CUDA are kept; the drivers of other devices have caches of their own.
#[cfg(feature = "cuda")]
pub fn keep_kernels() {
    use cubecl::config::{CubeClRuntimeConfig, RuntimeConfig as _, cache::CacheConfig};

    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let mut config = CubeClRuntimeConfig::from_current_dir().override_from_env();
        if let (None, Some(folder)) = (&config.compilation.cache, dirs::cache_dir()) {
            let folder = folder.join("rescore").join("kernels");
            config.compilation.cache = Some(CacheConfig::File(folder));
        }
        let mut current = CubeClRuntimeConfig::storage().lock();
        current.get_or_insert(std::sync::Arc::new(config));
    });
}

/// The CUDA devices.
///
/// # Errors
/// When the driver, the run-time compiler, the toolkit's headers or a device is missing.
#[cfg(feature = "cuda")]
pub fn cuda() -> Result<Vec<Found<burn::backend::cuda::CudaDevice>>, Missing> {
    use burn::backend::cuda::CudaDevice;
    use cudarc::driver::result;

    let missing = |missing: &str, hint: &str| Missing {
        missing: missing.to_owned(),
        hint: hint.to_owned(),
    };
    // SAFETY: it tries to load the library, which runs nothing but its own initialisers.
    if !unsafe { cudarc::driver::sys::is_culib_present() } {
        return Err(missing(
            "the CUDA driver library (libcuda.so.1, nvcuda.dll) cannot be loaded",
            "install the NVIDIA driver; `nvidia-smi` shows whether it works",
        ));
    }
    // SAFETY: as above.
    if !unsafe { cudarc::nvrtc::sys::is_culib_present() } {
        return Err(missing(
            "the CUDA run-time compiler (libnvrtc.so) cannot be loaded",
            "install the CUDA toolkit, or at least its NVRTC library, where the loader finds it",
        ));
    }
    if cubecl::cuda::install::cuda_path().is_none_or(|path| !path.join("include").is_dir()) {
        return Err(missing(
            "the headers of the CUDA toolkit, which kernels are compiled with, cannot be found",
            "set CUDA_PATH to the folder that holds the toolkit's `include`",
        ));
    }
    let driver = |error: result::DriverError| {
        missing(
            &format!("the CUDA driver does not start: {error}"),
            "`nvidia-smi` shows whether the driver works",
        )
    };
    result::init().map_err(driver)?;
    let count = result::device::get_count().map_err(driver)?;
    let mut found = Vec::new();
    for index in 0..count {
        let handle = result::device::get(index).map_err(driver)?;
        found.push(Found {
            device: CudaDevice::new(index as usize),
            name: result::device::get_name(handle).map_err(driver)?,
            detail: "CUDA".to_owned(),
            software: false,
        });
    }
    if found.is_empty() {
        return Err(missing(
            "the CUDA driver knows no device",
            "CUDA_VISIBLE_DEVICES may hide them; `nvidia-smi` lists them",
        ));
    }
    Ok(found)
}

/// The devices of the graphics driver: those that compute by themselves first.
///
/// # Errors
/// When there is none.
#[cfg(feature = "wgpu")]
pub fn wgpu() -> Result<Vec<Found<burn::backend::wgpu::WgpuDevice>>, Missing> {
    use burn::backend::wgpu::WgpuDevice;
    use wgpu::DeviceType;

    // What Burn chooses.
    let backend = if cfg!(target_os = "macos") {
        wgpu::Backends::METAL
    } else {
        wgpu::Backends::VULKAN
    };
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends: backend,
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    let adapters = cubecl::future::block_on(instance.enumerate_adapters(backend));
    let mut counts = [0; 3];
    let mut next = |kind: usize| {
        counts[kind] += 1;
        counts[kind] - 1
    };
    let mut found: Vec<_> = adapters
        .iter()
        .map(|adapter| {
            let info = adapter.get_info();
            Found {
                device: match info.device_type {
                    DeviceType::DiscreteGpu => WgpuDevice::DiscreteGpu(next(0)),
                    DeviceType::IntegratedGpu => WgpuDevice::IntegratedGpu(next(1)),
                    DeviceType::VirtualGpu => WgpuDevice::VirtualGpu(next(2)),
                    DeviceType::Cpu => WgpuDevice::Cpu,
                    DeviceType::Other => WgpuDevice::DefaultDevice,
                },
                name: info.name,
                detail: format!("{} {}", info.backend, info.driver)
                    .trim()
                    .to_owned(),
                software: info.device_type == DeviceType::Cpu,
            }
        })
        .collect();
    found.sort_by_key(|found| match found.device {
        WgpuDevice::DiscreteGpu(_) => 0,
        WgpuDevice::IntegratedGpu(_) => 1,
        WgpuDevice::VirtualGpu(_) => 2,
        WgpuDevice::Cpu => 4,
        _ => 3,
    });
    if found.is_empty() {
        return Err(Missing {
            missing: if cfg!(target_os = "macos") {
                "Metal knows no device".to_owned()
            } else {
                "no Vulkan driver was found".to_owned()
            },
            hint: "install the driver of the GPU with its Vulkan part (Linux: libvulkan1 and, \
                   for example, nvidia-driver or mesa-vulkan-drivers); `vulkaninfo --summary` \
                   lists what there is"
                .to_owned(),
        });
    }
    Ok(found)
}
