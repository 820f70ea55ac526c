################################################################################
#
# homebolt-manager
#
################################################################################

HOMEBOLT_MANAGER_VERSION = 0.1.0
HOMEBOLT_MANAGER_SITE = $(BR2_EXTERNAL_HOMEBOLT_PATH)/..
HOMEBOLT_MANAGER_SITE_METHOD = local
HOMEBOLT_MANAGER_OVERRIDE_SRCDIR_RSYNC_EXCLUSIONS = --exclude /target --exclude /out
HOMEBOLT_MANAGER_LICENSE = Apache-2.0
HOMEBOLT_MANAGER_LICENSE_FILES = LICENSE

# As in the [profile.release] of Cargo.toml: Buildroot would set its own, without overflow checks.
HOMEBOLT_MANAGER_PROFILE = \
	CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1 \
	CARGO_PROFILE_RELEASE_LTO=off \
	CARGO_PROFILE_RELEASE_OPT_LEVEL=z \
	CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS=true \
	CARGO_PROFILE_RELEASE_PANIC=abort \
	CARGO_PROFILE_RELEASE_STRIP=true

HOMEBOLT_MANAGER_ENV = \
	$(TARGET_MAKE_ENV) \
	$(TARGET_CONFIGURE_OPTS) \
	$(PKG_CARGO_ENV) \
	$(HOMEBOLT_MANAGER_PROFILE) \
	LIBSQLITE3_FLAGS="-USQLITE_ENABLE_FTS3 -USQLITE_ENABLE_FTS3_PARENTHESIS -USQLITE_ENABLE_FTS5 -USQLITE_ENABLE_RTREE -USQLITE_ENABLE_DBSTAT_VTAB"

# Nothing is downloaded for a local package, so its crates are fetched here, into the download folder, each checked
# against Cargo.lock. Without network they must be there already.
define HOMEBOLT_MANAGER_CONFIGURE_CMDS
	cd $(@D) && \
	$(HOMEBOLT_MANAGER_ENV) \
		cargo fetch \
			$(if $(BR2_PRIMARY_SITE_ONLY),--offline) \
			--locked \
			--target $(RUSTC_TARGET_NAME)
endef

# $(1): the package, $(2): the compiler's flags for the target.
define HOMEBOLT_MANAGER_CARGO
	cd $(@D) && \
	$(HOMEBOLT_MANAGER_ENV) \
		CARGO_TARGET_$(call UPPERCASE,$(RUSTC_TARGET_NAME))_RUSTFLAGS="$(2)" \
		cargo build \
			--offline \
			--release \
			--locked \
			--jobs $(PARALLEL_JOBS) \
			--package $(1)
endef

# homebolt-boot is linked statically: it is the first process of the initrd.
define HOMEBOLT_MANAGER_BUILD_CMDS
	$(call HOMEBOLT_MANAGER_CARGO,homebolt-manager,)
	$(call HOMEBOLT_MANAGER_CARGO,homebolt-boot,-C target-feature=+crt-static)
endef

define HOMEBOLT_MANAGER_INSTALL_TARGET_CMDS
	$(INSTALL) -D -m 0755 $(@D)/target/$(RUSTC_TARGET_NAME)/release/homebolt-manager \
		$(TARGET_DIR)/usr/bin/homebolt-manager
	$(INSTALL) -D -m 0755 $(@D)/target/$(RUSTC_TARGET_NAME)/release/homebolt-boot \
		$(TARGET_DIR)/usr/lib/homebolt/homebolt-boot
endef

$(eval $(cargo-package))
