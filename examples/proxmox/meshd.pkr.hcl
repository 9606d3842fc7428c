# Packer: a template of Debian's cloud image with meshd in it, whose clones join on their first boot by the word that is sealed in it.
#   packer init . && packer build -var token="$(meshctl token create --network prod --template --uses 50)" meshd.pkr.hcl
packer {
  required_plugins {
    proxmox = {
      source  = "github.com/hashicorp/proxmox"
      version = ">= 1.2.0"
    }
  }
}

variable "url" {
  type    = string
  default = "https://pve.example.net:8006/api2/json"
}

variable "node" {
  type    = string
  default = "pve"
}

variable "username" {
  type    = string
  default = "packer@pve!packer"
}

variable "api_token" {
  type      = string
  sensitive = true
}

# of Debian's genericcloud image, with the guest agent
variable "base" {
  type    = string
  default = "debian-cloud"
}

# the package for the template's architecture, on this computer
variable "deb" {
  type    = string
  default = "meshd.deb"
}

variable "token" {
  type      = string
  sensitive = true
}

source "proxmox-clone" "meshd" {
  proxmox_url              = var.url
  node                     = var.node
  username                 = var.username
  token                    = var.api_token
  insecure_skip_tls_verify = false

  clone_vm             = var.base
  vm_name              = "meshd-template"
  template_description = "Debian with meshd; clones join the mesh by themselves"
  cores                = 2
  memory               = 2048
  ssh_username         = "debian"
}

build {
  sources = ["source.proxmox-clone.meshd"]

  provisioner "file" {
    source      = var.deb
    destination = "/tmp/meshd.deb"
  }

  provisioner "shell" {
    environment_vars = ["TOKEN=${var.token}"]
    inline = [
      "sudo apt-get install -y /tmp/meshd.deb",
      "sudo systemctl enable --now meshd",
      "printf %s \"$TOKEN\" | sudo meshctl template seal -",
      "sudo cloud-init clean --logs --machine-id",
      "rm -f /tmp/meshd.deb",
    ]
  }
}
