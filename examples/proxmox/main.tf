# Terraform or OpenTofu: machines of the template that meshd.pkr.hcl makes. Each is in the mesh after its first boot, under its name.
terraform {
  required_providers {
    proxmox = {
      source  = "bpg/proxmox"
      version = ">= 0.60.0"
    }
  }
}

provider "proxmox" {
  endpoint  = var.endpoint
  api_token = var.api_token
}

variable "endpoint" {
  type    = string
  default = "https://pve.example.net:8006/"
}

variable "api_token" {
  type      = string
  sensitive = true
}

variable "template" {
  description = "The template's number"
  type        = number
}

variable "machines" {
  type = map(object({ node = string, cores = number, memory = number }))
  default = {
    n1 = { node = "pve", cores = 2, memory = 4096 }
    n2 = { node = "pve", cores = 2, memory = 4096 }
    n3 = { node = "pve", cores = 2, memory = 4096 }
    w1 = { node = "pve", cores = 4, memory = 8192 }
  }
}

resource "proxmox_virtual_environment_vm" "machine" {
  for_each  = var.machines
  name      = each.key
  node_name = each.value.node

  clone {
    vm_id = var.template
  }

  cpu {
    cores = each.value.cores
  }

  memory {
    dedicated = each.value.memory
  }

  initialization {
    ip_config {
      ipv4 {
        address = "dhcp"
      }
    }
  }
}
