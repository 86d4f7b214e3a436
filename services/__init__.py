"""The services of the mesh, one folder each, and `participant`, which makes participants of them.

A new service is registered here, with one line: its name (the part of its package before the version), and where its
servicer class is.
"""

SERVICES = {
    "orders": "services.orders.service:OrdersService",
    "inventory": "services.inventory.service:InventoryService",
    "payments": "services.payments.service:PaymentsService",
    "shipping": "services.shipping.service:ShippingService",
    "notifications": "services.notifications.service:NotificationsService",
}
