//! Metrics of the vehicle hardware and operating system, as one table. What is marked `sent` is the standard vehicle
//! profile: it leaves over MQTT by default; what is marked `local` is for `/metrics` and the status page only, because
//! it is per core, per station or derivable from what is sent. Nothing here says how a value is obtained.
//!
//! A row reads: identifier, kind, name, labels, decimal exponent of the resolution, sent or local, help.

use crate::core::sample::{Kind, Metric};

/// Whether a row of the table is part of the telemetry.
macro_rules! telemetry {
    (sent) => {
        true
    };
    (local) => {
        false
    };
}

macro_rules! metrics {
    ($($ident:ident = $kind:ident $name:literal [$($label:literal),*] $resolution:literal $telemetry:ident $help:literal;)*) => {
        $(
            #[doc = $help]
            pub static $ident: Metric = Metric {
                name: $name,
                help: $help,
                kind: Kind::$kind,
                labels: &[$($label),*],
                resolution: $resolution,
                telemetry: telemetry!($telemetry),
            };
        )*

        /// Every metric of this module.
        pub static ALL: &[&Metric] = &[$(&$ident),*];
    };
}

metrics! {
    // Processors.
    CPU_UTILIZATION = Gauge "outrider_cpu_utilization_ratio" [] -2 sent
        "Share of the time since the previous reading that the processors were busy, 0 to 1, from /proc/stat.";
    CPU_SECONDS = Counter "outrider_cpu_seconds_total" ["mode"] -2 local
        "Time of all processors together in each mode, in seconds, from /proc/stat.";
    CPU_CORE_SECONDS = Counter "outrider_cpu_core_seconds_total" ["cpu", "mode"] -2 local
        "Time of each processor in each mode, in seconds, from /proc/stat.";
    CPU_CORES = Gauge "outrider_cpu_cores" [] 0 local
        "Processors that are online, from /proc/stat.";
    CPU_FREQUENCY = Gauge "outrider_cpu_frequency_hertz" ["policy"] 6 sent
        "Current frequency of the processors that share a cpufreq policy, in hertz, from scaling_cur_freq.";
    CPU_FREQUENCY_LIMIT = Gauge "outrider_cpu_frequency_limit_hertz" ["policy"] 6 local
        "Frequency that a cpufreq policy permits at the moment, in hertz, from scaling_max_freq.";
    CPU_CORE_THROTTLES = Counter "outrider_cpu_core_throttles_total" ["cpu"] 0 local
        "Times an x86 core was slowed down because it was hot, from thermal_throttle/core_throttle_count.";
    CPU_PACKAGE_THROTTLES = Counter "outrider_cpu_package_throttles_total" ["package"] 0 sent
        "Times an x86 package was slowed down because it was hot, from thermal_throttle/package_throttle_count.";
    CONTEXT_SWITCHES = Counter "outrider_context_switches_total" [] 3 local
        "Context switches of all processors, from /proc/stat.";
    FORKS = Counter "outrider_forks_total" [] 0 local
        "Processes and threads created since boot, from /proc/stat.";

    // Load and pressure.
    LOAD1 = Gauge "outrider_load1" [] -2 sent
        "Tasks running or waiting, averaged over one minute, from /proc/loadavg.";
    LOAD5 = Gauge "outrider_load5" [] -2 local
        "Tasks running or waiting, averaged over five minutes, from /proc/loadavg.";
    LOAD15 = Gauge "outrider_load15" [] -2 local
        "Tasks running or waiting, averaged over fifteen minutes, from /proc/loadavg.";
    TASKS_RUNNABLE = Gauge "outrider_tasks_runnable" [] 0 local
        "Tasks that want a processor now, from /proc/loadavg.";
    TASKS = Gauge "outrider_tasks" [] 0 local
        "Tasks that exist, threads included, from /proc/loadavg.";
    PRESSURE_SOME = Gauge "outrider_pressure_some_ratio" ["resource"] -2 sent
        "Share of the last 10 s in which at least one task waited for the resource, 0 to 1, from /proc/pressure.";
    PRESSURE_FULL = Gauge "outrider_pressure_full_ratio" ["resource"] -2 sent
        "Share of the last 10 s in which every task waited for the resource, 0 to 1, from /proc/pressure.";
    PRESSURE_SOME_SECONDS = Counter "outrider_pressure_some_seconds_total" ["resource"] -2 local
        "Time in which at least one task waited for the resource, in seconds, from /proc/pressure.";
    PRESSURE_FULL_SECONDS = Counter "outrider_pressure_full_seconds_total" ["resource"] -2 local
        "Time in which every task waited for the resource, in seconds, from /proc/pressure.";

    // Memory.
    MEMORY_SIZE = Gauge "outrider_memory_size_bytes" [] 5 sent
        "Memory the kernel can use, in bytes, MemTotal of /proc/meminfo.";
    MEMORY_AVAILABLE = Gauge "outrider_memory_available_bytes" [] 5 sent
        "Memory that can be had without swapping, in bytes, MemAvailable of /proc/meminfo.";
    MEMORY_FREE = Gauge "outrider_memory_free_bytes" [] 3 local
        "Memory used for nothing, in bytes, MemFree of /proc/meminfo.";
    MEMORY_BUFFERS = Gauge "outrider_memory_buffers_bytes" [] 3 local
        "Memory that caches raw block devices, in bytes, Buffers of /proc/meminfo.";
    MEMORY_CACHED = Gauge "outrider_memory_cached_bytes" [] 3 local
        "Memory that caches files, in bytes, Cached of /proc/meminfo.";
    MEMORY_SHARED = Gauge "outrider_memory_shared_bytes" [] 3 local
        "Memory of tmpfs and shared mappings, in bytes, Shmem of /proc/meminfo.";
    MEMORY_SLAB = Gauge "outrider_memory_slab_bytes" [] 3 local
        "Memory of kernel objects, in bytes, Slab of /proc/meminfo.";
    MEMORY_DIRTY = Gauge "outrider_memory_dirty_bytes" [] 3 local
        "File data that waits to be written, in bytes, Dirty of /proc/meminfo.";
    MEMORY_WRITEBACK = Gauge "outrider_memory_writeback_bytes" [] 3 local
        "File data that is being written, in bytes, Writeback of /proc/meminfo.";
    SWAP_SIZE = Gauge "outrider_swap_size_bytes" [] 5 local
        "Swap space, in bytes, SwapTotal of /proc/meminfo.";
    SWAP_USED = Gauge "outrider_swap_used_bytes" [] 5 sent
        "Swap space in use, in bytes, SwapTotal less SwapFree of /proc/meminfo.";
    SWAPPED_IN = Counter "outrider_swapped_in_pages_total" [] 0 local
        "Pages read back from swap, pswpin of /proc/vmstat.";
    SWAPPED_OUT = Counter "outrider_swapped_out_pages_total" [] 0 local
        "Pages written to swap, pswpout of /proc/vmstat.";
    MAJOR_FAULTS = Counter "outrider_major_page_faults_total" [] 0 local
        "Page faults that had to read from storage, pgmajfault of /proc/vmstat.";
    OOM_KILLS = Counter "outrider_oom_kills_total" [] 0 sent
        "Processes killed because memory ran out, oom_kill of /proc/vmstat.";

    // Filesystems.
    FILESYSTEM_SIZE = Gauge "outrider_filesystem_size_bytes" ["mountpoint"] 6 sent
        "Size of the filesystem, in bytes, from statvfs.";
    FILESYSTEM_AVAILABLE = Gauge "outrider_filesystem_available_bytes" ["mountpoint"] 6 sent
        "Space that ordinary users can still fill, in bytes, from statvfs.";
    FILESYSTEM_FREE = Gauge "outrider_filesystem_free_bytes" ["mountpoint"] 6 local
        "Free space including what is kept for root, in bytes, from statvfs.";
    FILESYSTEM_FILES = Gauge "outrider_filesystem_files" ["mountpoint"] 0 local
        "Inodes the filesystem can hold, from statvfs.";
    FILESYSTEM_FILES_FREE = Gauge "outrider_filesystem_files_free" ["mountpoint"] 3 local
        "Inodes that are free, from statvfs.";
    FILESYSTEM_READONLY = Gauge "outrider_filesystem_readonly" ["mountpoint"] 0 sent
        "1 when the filesystem is read-only, which some become on storage errors, from /proc/1/mountinfo.";
    FILESYSTEM_INFO = Info "outrider_filesystem_info" ["mountpoint", "device", "fstype"] 0 local
        "What is mounted where, from /proc/1/mountinfo.";
    FILESYSTEM_LIFETIME_WRITTEN = Counter "outrider_filesystem_lifetime_written_bytes_total" ["device", "fstype"] 3 local
        "Bytes written to the filesystem since it was made, in bytes, lifetime_write_kbytes of ext4 and f2fs.";
    FILESYSTEM_ERRORS = Counter "outrider_filesystem_errors_total" ["device"] 0 sent
        "Errors that ext4 noted in its superblock since the last complete check, errors_count.";

    // Block devices.
    BLOCK_READ = Counter "outrider_block_read_bytes_total" ["device"] 4 sent
        "Bytes read from the device, from /proc/diskstats.";
    BLOCK_WRITTEN = Counter "outrider_block_written_bytes_total" ["device"] 4 sent
        "Bytes written to the device, from /proc/diskstats.";
    BLOCK_DISCARDED = Counter "outrider_block_discarded_bytes_total" ["device"] 4 local
        "Bytes discarded (trimmed) on the device, from /proc/diskstats.";
    BLOCK_READS = Counter "outrider_block_reads_total" ["device"] 0 local
        "Read requests completed, from /proc/diskstats.";
    BLOCK_WRITES = Counter "outrider_block_writes_total" ["device"] 0 local
        "Write requests completed, from /proc/diskstats.";
    BLOCK_READ_SECONDS = Counter "outrider_block_read_seconds_total" ["device"] -3 local
        "Time read requests took, summed over requests, in seconds, from /proc/diskstats.";
    BLOCK_WRITE_SECONDS = Counter "outrider_block_write_seconds_total" ["device"] -3 local
        "Time write requests took, summed over requests, in seconds, from /proc/diskstats.";
    BLOCK_BUSY_SECONDS = Counter "outrider_block_busy_seconds_total" ["device"] -2 sent
        "Time in which the device had something to do, in seconds, from /proc/diskstats.";
    BLOCK_IN_FLIGHT = Gauge "outrider_block_requests_in_flight" ["device"] 0 local
        "Requests the device works on now, from /proc/diskstats.";
    BLOCK_SIZE = Gauge "outrider_block_size_bytes" ["device"] 6 local
        "Size of the device, in bytes, from /sys/block.";
    BLOCK_INFO = Info "outrider_block_info" ["device", "model"] 0 local
        "Model of the device as it names itself, from /sys/block.";
    BLOCK_LIFE_USED = Gauge "outrider_block_life_used_ratio" ["device", "type"] -1 sent
        "Upper bound of the share of its write endurance an eMMC has used, in steps of 0.1, 1.1 beyond its design, from life_time (JEDEC JESD84-B51; types a and b are two kinds of cells).";
    BLOCK_PRE_EOL = Gauge "outrider_block_pre_eol_state" ["device"] 0 sent
        "Spare blocks of an eMMC: 1 normal, 2 warning (80 % used), 3 urgent (90 % used), from pre_eol_info (JEDEC JESD84-B51).";

    // Temperatures and sensors.
    THERMAL_ZONE = Gauge "outrider_thermal_zone_celsius" ["zone", "type"] 0 sent
        "Temperature of a thermal zone, in degrees Celsius, from /sys/class/thermal.";
    COOLING = Gauge "outrider_cooling_ratio" ["device", "type"] -2 local
        "How far a cooling device (fan, or the slowing down of processors) is in use, 0 to 1, from /sys/class/thermal.";
    HWMON_TEMPERATURE = Gauge "outrider_hwmon_temperature_celsius" ["chip", "sensor", "label"] 0 sent
        "Temperature at a sensor, in degrees Celsius, from /sys/class/hwmon.";
    HWMON_FAN = Gauge "outrider_hwmon_fan_rpm" ["chip", "sensor", "label"] 1 sent
        "Speed of a fan, in rotations per minute, from /sys/class/hwmon.";
    HWMON_VOLTAGE = Gauge "outrider_hwmon_voltage_volts" ["chip", "sensor", "label"] -2 sent
        "Voltage at a sensor, in volts, from /sys/class/hwmon.";
    HWMON_CURRENT = Gauge "outrider_hwmon_current_amperes" ["chip", "sensor", "label"] -2 sent
        "Current through a sensor, in amperes, from /sys/class/hwmon.";
    HWMON_POWER = Gauge "outrider_hwmon_power_watts" ["chip", "sensor", "label"] -1 sent
        "Power through a sensor, in watts, from /sys/class/hwmon.";
    HWMON_HUMIDITY = Gauge "outrider_hwmon_humidity_ratio" ["chip", "sensor", "label"] -2 sent
        "Relative humidity at a sensor, 0 to 1, from /sys/class/hwmon.";
    HWMON_ALARM = Gauge "outrider_hwmon_alarm" ["chip", "sensor"] 0 local
        "1 while a sensor is beyond a limit, from the alarm files of /sys/class/hwmon.";

    // Power.
    POWER_SUPPLY_ONLINE = Gauge "outrider_power_supply_online" ["supply"] 0 sent
        "1 while the external supply delivers power, from /sys/class/power_supply.";
    BATTERY_PRESENT = Gauge "outrider_battery_present" ["supply"] 0 local
        "1 while the battery is in place, from /sys/class/power_supply.";
    BATTERY_CAPACITY = Gauge "outrider_battery_capacity_ratio" ["supply"] -2 sent
        "Charge of the battery, 0 to 1, from /sys/class/power_supply.";
    BATTERY_DISCHARGING = Gauge "outrider_battery_discharging" ["supply"] 0 sent
        "1 while the battery feeds the vehicle, from /sys/class/power_supply.";
    BATTERY_HEALTH = Gauge "outrider_battery_health_ratio" ["supply"] -2 local
        "Full charge as a share of what the battery was designed for, from /sys/class/power_supply.";
    BATTERY_CYCLES = Counter "outrider_battery_cycles_total" ["supply"] 0 local
        "Charge cycles of the battery, from /sys/class/power_supply.";
    BATTERY_EMPTY_SECONDS = Gauge "outrider_battery_time_to_empty_seconds" ["supply"] 0 local
        "Time until the battery is empty at the present rate, in seconds, from /sys/class/power_supply.";
    POWER_SUPPLY_VOLTAGE = Gauge "outrider_power_supply_voltage_volts" ["supply"] -2 sent
        "Voltage of the supply, in volts, from /sys/class/power_supply.";
    POWER_SUPPLY_CURRENT = Gauge "outrider_power_supply_current_amperes" ["supply"] -2 sent
        "Current of the supply, in amperes, sign as its driver gives it, from /sys/class/power_supply.";
    POWER_SUPPLY_POWER = Gauge "outrider_power_supply_power_watts" ["supply"] -1 sent
        "Power of the supply, in watts, sign as its driver gives it, from /sys/class/power_supply.";
    POWER_SUPPLY_TEMPERATURE = Gauge "outrider_power_supply_temperature_celsius" ["supply"] 0 sent
        "Temperature of the supply, in degrees Celsius, from /sys/class/power_supply.";
    POWER_SUPPLY_INFO = Info "outrider_power_supply_info" ["supply", "type", "model", "technology", "health"] 0 local
        "What the supply says about itself, from /sys/class/power_supply.";
    UNDERVOLTAGE = Gauge "outrider_undervoltage" [] 0 sent
        "1 while the board's supply voltage is too low, from the Raspberry Pi's rpi_volt sensor.";
    FIRMWARE_THROTTLED = Gauge "outrider_firmware_throttled" ["cause"] 0 sent
        "1 while a Raspberry Pi's firmware holds back the processor for this cause, from get_throttled.";
    FIRMWARE_THROTTLED_SEEN = Gauge "outrider_firmware_throttled_seen" ["cause"] 0 local
        "1 when this cause has occurred since the firmware's memory of it was last cleared, from get_throttled.";

    // Network.
    NETWORK_RECEIVED = Counter "outrider_network_received_bytes_total" ["interface"] 3 sent
        "Bytes received, from /proc/net/dev.";
    NETWORK_SENT = Counter "outrider_network_sent_bytes_total" ["interface"] 3 sent
        "Bytes sent, from /proc/net/dev.";
    NETWORK_PACKETS_RECEIVED = Counter "outrider_network_received_packets_total" ["interface"] 0 local
        "Packets received, from /proc/net/dev.";
    NETWORK_PACKETS_SENT = Counter "outrider_network_sent_packets_total" ["interface"] 0 local
        "Packets sent, from /proc/net/dev.";
    NETWORK_RECEIVE_ERRORS = Counter "outrider_network_receive_errors_total" ["interface"] 0 local
        "Packets received damaged, from /proc/net/dev.";
    NETWORK_SEND_ERRORS = Counter "outrider_network_send_errors_total" ["interface"] 0 local
        "Packets that could not be sent, from /proc/net/dev.";
    NETWORK_RECEIVE_DROPS = Counter "outrider_network_receive_drops_total" ["interface"] 0 local
        "Packets received and thrown away, from /proc/net/dev.";
    NETWORK_SEND_DROPS = Counter "outrider_network_send_drops_total" ["interface"] 0 local
        "Packets thrown away before sending, from /proc/net/dev.";
    NETWORK_UP = Gauge "outrider_network_up" ["interface"] 0 sent
        "1 while the interface can carry traffic: operstate up, or unknown with a carrier, from /sys/class/net.";
    NETWORK_CARRIER_CHANGES = Counter "outrider_network_carrier_changes_total" ["interface"] 0 local
        "Times the carrier came or went, from /sys/class/net.";
    NETWORK_SPEED = Gauge "outrider_network_speed_bytes_per_second" ["interface"] 6 local
        "Speed the link has negotiated, in bytes per second (125,000 for 1 Mbit/s), from /sys/class/net.";
    NETWORK_MTU = Gauge "outrider_network_mtu_bytes" ["interface"] 0 local
        "Largest packet the interface sends, in bytes, from /sys/class/net.";
    NETWORK_INFO = Info "outrider_network_info" ["interface", "kind", "operstate"] 0 local
        "Kind (ethernet, wifi, can, virtual, other) and state of the interface, from /sys/class/net.";

    // Wi-Fi.
    WIFI_SIGNAL = Gauge "outrider_wifi_signal_dbm" ["interface"] 0 sent
        "Signal of the strongest peer (the access point, or the nearest vehicle in an ad-hoc network), in dBm, from nl80211 or /proc/net/wireless.";
    WIFI_QUALITY = Gauge "outrider_wifi_quality_ratio" ["interface"] -2 local
        "Link quality, 0 to 1 of the 70 steps that cfg80211 counts, from /proc/net/wireless.";
    WIFI_NOISE = Gauge "outrider_wifi_noise_dbm" ["interface"] 0 local
        "Noise on the channel, in dBm, from /proc/net/wireless; absent where the driver does not know it.";
    WIFI_PEERS = Gauge "outrider_wifi_peers" ["interface"] 0 sent
        "Stations heard on the interface, from nl80211.";
    WIFI_FREQUENCY = Gauge "outrider_wifi_frequency_hertz" ["interface"] 6 local
        "Centre frequency of the primary channel, in hertz, from nl80211.";
    WIFI_SEND_RATE = Gauge "outrider_wifi_send_rate_bytes_per_second" ["interface"] 4 sent
        "Bit rate towards the strongest peer, in bytes per second (125,000 for 1 Mbit/s), from nl80211.";
    WIFI_RECEIVE_RATE = Gauge "outrider_wifi_receive_rate_bytes_per_second" ["interface"] 4 sent
        "Bit rate from the strongest peer, in bytes per second (125,000 for 1 Mbit/s), from nl80211.";
    WIFI_STATION_SIGNAL = Gauge "outrider_wifi_station_signal_dbm" ["interface", "station"] 0 local
        "Signal of one peer, in dBm, from nl80211.";
    WIFI_STATION_SEND_RATE = Gauge "outrider_wifi_station_send_rate_bytes_per_second" ["interface", "station"] 4 local
        "Bit rate towards one peer, in bytes per second (125,000 for 1 Mbit/s), from nl80211.";
    WIFI_STATION_RECEIVE_RATE = Gauge "outrider_wifi_station_receive_rate_bytes_per_second" ["interface", "station"] 4 local
        "Bit rate from one peer, in bytes per second (125,000 for 1 Mbit/s), from nl80211.";
    WIFI_STATION_RETRIES = Counter "outrider_wifi_station_send_retries_total" ["interface", "station"] 0 local
        "Frames to one peer that were repeated, from nl80211.";
    WIFI_STATION_FAILURES = Counter "outrider_wifi_station_send_failures_total" ["interface", "station"] 0 local
        "Frames to one peer that were given up, from nl80211.";

    // Time.
    CLOCK_QUALITY = Gauge "outrider_clock_quality" [] 0 sent
        "How far the wall clock can be believed: 0 unset, 1 believable but not synchronised, 2 synchronised, from adjtimex.";
    CLOCK_ERROR_MAX = Gauge "outrider_clock_error_max_seconds" [] -3 local
        "Largest error the kernel expects of the wall clock, in seconds, maxerror of adjtimex.";
    CLOCK_ERROR_ESTIMATED = Gauge "outrider_clock_error_estimated_seconds" [] -6 local
        "Error the time daemon estimates, in seconds, esterror of adjtimex.";
    CLOCK_WALL = Gauge "outrider_clock_wall_seconds" [] 0 local
        "The wall clock when it was read, in seconds since 1970-01-01 UTC, however wrong.";

    // System.
    UPTIME = Gauge "outrider_uptime_seconds" [] 0 sent
        "Time since boot including suspend, in seconds, from /proc/uptime.";
    BOOT_TIME = Gauge "outrider_boot_time_seconds" [] 0 local
        "When the system was booted by its present wall clock, in seconds since 1970-01-01 UTC, btime of /proc/stat.";
    BOOT_INFO = Info "outrider_boot_info" ["boot_id"] 0 local
        "The kernel's id of this boot, from /proc/sys/kernel/random/boot_id.";
    SYSTEM_INFO = Info "outrider_system_info" ["kernel", "architecture", "os", "model"] 0 local
        "Kernel release, architecture, operating system and model of the machine, from /proc, os-release, device tree or DMI.";
    WATCHDOG_INFO = Info "outrider_watchdog_info" ["watchdog", "identity"] 0 local
        "A hardware watchdog is present, from /sys/class/watchdog.";
    WATCHDOG_ACTIVE = Gauge "outrider_watchdog_active" ["watchdog"] 0 local
        "1 while the watchdog is armed, from /sys/class/watchdog.";
    WATCHDOG_TIMEOUT = Gauge "outrider_watchdog_timeout_seconds" ["watchdog"] 0 local
        "Time after which the watchdog resets the machine, in seconds, from /sys/class/watchdog.";
    WATCHDOG_CAUSED_BOOT = Gauge "outrider_watchdog_caused_boot" ["watchdog"] 0 sent
        "1 when the watchdog caused the last reset (WDIOF_CARDRESET of bootstatus), from /sys/class/watchdog.";

    // This process.
    PROCESS_RESIDENT = Gauge "outrider_process_resident_bytes" [] 4 sent
        "Memory of this program that is resident, in bytes, from /proc/self.";
    PROCESS_PROPORTIONAL = Gauge "outrider_process_proportional_bytes" [] 4 local
        "Memory of this program with shared pages divided among their users, in bytes, Pss of /proc/self/smaps_rollup.";
    PROCESS_CPU = Counter "outrider_process_cpu_seconds_total" [] -2 sent
        "Processor time of this program, in seconds, from /proc/self.";
    PROCESS_THREADS = Gauge "outrider_process_threads" [] 0 local
        "Threads of this program, from /proc/self.";
    PROCESS_FILES = Gauge "outrider_process_open_files" [] 0 local
        "Descriptors this program has open, from /proc/self.";
    PROCESS_WRITTEN = Counter "outrider_process_written_bytes_total" [] 0 local
        "Bytes this program caused to be written to storage, from /proc/self.";
    PROCESS_START = Gauge "outrider_process_start_time_seconds" [] 0 local
        "When this program was started by the wall clock of boot, in seconds since 1970-01-01 UTC, from /proc/self.";

    // The collectors themselves.
    SKIPPED = Gauge "outrider_hardware_skipped_items" ["collector", "cause"] 0 local
        "Items the latest run of a collector left out: unreadable, garbage (not what the kernel documents) or bound (more than it reports).";
}
