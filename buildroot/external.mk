include $(sort $(wildcard $(BR2_EXTERNAL_HOMEBOLT_PATH)/package/*/*.mk))

# Kconfig drops what it does not know, or what misses something else, without a word: each symbol that our
# fragments ask for must be in the kernel's final configuration.
define HOMEBOLT_CHECK_KERNEL
	$(BR2_EXTERNAL_HOMEBOLT_PATH)/scripts/check-config $(LINUX_DIR)/.config \
		$(filter $(BR2_EXTERNAL_HOMEBOLT_PATH)/%,$(LINUX_KCONFIG_FILE) $(LINUX_KCONFIG_FRAGMENT_FILES))
endef
LINUX_POST_CONFIGURE_HOOKS += HOMEBOLT_CHECK_KERNEL
