# Terraform or OpenTofu: machines at Hetzner that join the mesh on their first boot. Nothing but WireGuard's port is open to the world;
# over the mesh everything is reached.
terraform {
  required_providers {
    hcloud = {
      source  = "hetznercloud/hcloud"
      version = ">= 1.48.0"
    }
  }
}

provider "hcloud" {
  token = var.hcloud_token
}

variable "hcloud_token" {
  type      = string
  sensitive = true
}

variable "mesh_token" {
  description = "A word of `meshctl token create --network prod --uses 20 --expires 1d`"
  type        = string
  sensitive   = true
}

variable "deb_url" {
  description = "Where the machines get the package"
  type        = string
}

variable "machines" {
  type    = map(string)
  default = { n1 = "cx22", n2 = "cx22", n3 = "cax11" }
}

locals {
  install = "# - curl -fsS -o /run/meshd.deb URL && apt-get install -y /run/meshd.deb"
  with_package = replace(
    file("${path.module}/../cloud-init/user-data.yaml"),
    local.install,
    "- curl -fsS -o /run/meshd.deb ${var.deb_url} && apt-get install -y /run/meshd.deb",
  )
}

resource "hcloud_firewall" "mesh" {
  name = "mesh"

  rule {
    direction  = "in"
    protocol   = "udp"
    port       = "51820"
    source_ips = ["0.0.0.0/0", "::/0"]
  }
}

resource "hcloud_server" "machine" {
  for_each     = var.machines
  name         = each.key
  server_type  = each.value
  image        = "debian-12"
  user_data    = replace(local.with_package, "content: TOKEN", "content: ${var.mesh_token}")
  firewall_ids = [hcloud_firewall.mesh.id]
}
