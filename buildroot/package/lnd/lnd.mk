################################################################################
#
# lnd
#
################################################################################

LND_VERSION = v0.21.2-beta
LND_SITE = $(BR2_EXTERNAL_HOMEBOLT_PATH)/../image/lnd
LND_SITE_METHOD = local
LND_LICENSE = MIT
LND_LICENSE_FILES = vendor/github.com/lightningnetwork/lnd/LICENSE
LND_INSTALL_IMAGES = YES

LND_GOMOD = homebolt/lnd
LND_GO_ENV = CGO_ENABLED=0
LND_TAGS = \
	autopilotrpc chainrpc invoicesrpc monitoring neutrinorpc peersrpc signrpc \
	walletrpc watchtowerrpc wtclientrpc kvdb_postgres kvdb_sqlite kvdb_etcd
LND_LDFLAGS = -s -w -buildid= -X github.com/lightningnetwork/lnd/build.Commit=$(LND_VERSION)

# Nothing is downloaded for a local package, so its modules are fetched here, into the download folder, each checked
# against go.sum: from where the user's GOPROXY says, otherwise as Go does by itself. Without network they must be
# there already.
define LND_CONFIGURE_CMDS
	cd $(@D) && \
	$(HOST_GO_TARGET_ENV) \
		$(LND_GO_ENV) \
		GOMODCACHE="$(DL_DIR)/br-go-modules" \
		env $(if $(BR2_PRIMARY_SITE_ONLY),GOPROXY=off,$(if $(GOPROXY),GOPROXY="$(GOPROXY)",--unset=GOPROXY)) \
		$(GO_BIN) mod vendor -modcacherw
endef

# What is linked in goes into the parts list of the image.
define LND_INSTALL_IMAGES_CMDS
	$(GO_BIN) version -m $(@D)/bin/lnd > $(BINARIES_DIR)/lnd.modules
endef

$(eval $(golang-package))
